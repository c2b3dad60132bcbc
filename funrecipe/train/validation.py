"""Validation after an epoch: losses and accuracy on the validation set, and its error rate by real decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import editdistance
import torch
from torch import nn

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.search import make_search
from funrecipe.errors import DataError
from funrecipe.families import FAMILIES
from funrecipe.model_folder import ModelFolder
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.dataset import BatchLoader
from funrecipe.train.distributed import Ranks, agree_on_names, sum_over_ranks
from funrecipe.train.objectives.output import LossOutput

# Families whose own default is a beam search; validation wants speed.
Loss = Callable[[nn.Module, Batch, torch.Generator], LossOutput]
Transcribe = Callable[[nn.Module, Batch], list[list[int]]]


@dataclass
class Evaluator:
    """Callable ``model -> values``: weighted means of the losses (``loss``, ``acc``, ...) and ``cer_decode``.

    Accuracy in training counts tokens at given lengths and is optimistic; ``cer_decode`` comes from decoding as users
    do, with greedy search.

    Attributes:
        loader: validation batches, not augmented; every rank takes its part.
        decoded_keys: utterances to decode; None: all.
    """

    loader: BatchLoader
    loss: Loss
    transcribe: Transcribe | None
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    decoded_keys: frozenset[str] | None = None

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Raises DataError when the model has diverged."""
        model.eval()
        sums: dict[str, list[float]] = {}
        errors = tokens = 0
        for batch in self.batches():
            output = self.loss(model, batch, torch.Generator().manual_seed(0))
            if not torch.isfinite(output.loss):
                raise DataError(
                    f"the validation loss is not finite ({', '.join(batch.keys[:3])}): training has diverged",
                    hint="use a lower --lr, a scheduler with warm-up, or a lower --grad_clip, in another output_dir",
                )
            for name, value in output.stats.items():
                pair = sums.setdefault(name, [0.0, 0.0])
                pair[0] += value * output.weight
                pair[1] += output.weight
            if self.transcribe is not None:
                found, wanted = self.count_errors(model, batch)
                errors, tokens = errors + found, tokens + wanted
        model.train()
        return self.combine(sums, errors, tokens)

    @torch.no_grad()
    def names_of_losses(self, model: nn.Module) -> list[str]:
        """What the objective calls its parts, from one validation batch; nothing on a rank without a batch."""
        batch = next(self.batches(), None)
        if batch is None:
            return []
        model.eval()
        output = self.loss(model, batch, torch.Generator().manual_seed(0))
        model.train()
        return sorted(output.stats)

    def batches(self) -> Iterator[Batch]:
        for _, batch in self.loader.epoch(0):
            if batch is not None:
                yield batch.to(self.device)

    def count_errors(self, model: nn.Module, batch: Batch) -> tuple[int, int]:
        chosen = [i for i, key in enumerate(batch.keys) if self.decoded_keys is None or key in self.decoded_keys]
        if not chosen:
            return 0, 0
        hypotheses = self.transcribe(model, batch)
        references = [batch.text[i, : int(batch.text_lens[i])].tolist() for i in range(len(batch.keys))]
        errors = sum(editdistance.eval(hypotheses[i], references[i]) for i in chosen)
        return errors, sum(len(references[i]) for i in chosen)

    def combine(self, sums: dict[str, list[float]], errors: int, tokens: int) -> dict[str, float]:
        """Means over all ranks."""
        names = agree_on_names(sorted(sums), self.ranks, self.device)
        flat = [x for name in names for x in sums.get(name, (0.0, 0.0))] + [float(errors), float(tokens)]
        total = sum_over_ranks(flat, self.ranks, self.device)
        values = {name: total[2 * i] / total[2 * i + 1] for i, name in enumerate(names) if total[2 * i + 1]}
        if total[-1]:
            values["cer_decode"] = total[-2] / total[-1]
        return values


def transcriber(folder: ModelFolder) -> Transcribe | None:
    """Greedy decoding with the family's own search, giving token ids; None where the family has no search."""
    row = FAMILIES.get(folder.family)
    if row is None or row.search is None:
        return None
    options = DecodeOptions(**row.validation)

    def transcribe(model: nn.Module, batch: Batch) -> list[list[int]]:
        search = make_search(model, folder, options)
        return [list(nbest[0].ids) if nbest else [] for nbest in search.decode(batch.feats, batch.feat_lens)]

    return transcribe
