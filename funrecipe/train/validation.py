"""Validation after an epoch: losses and accuracy on the validation set, and measures from real decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from funrecipe.errors import DataError
from funrecipe.train.criteria import UnjudgedError
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.dataset import BatchLoader
from funrecipe.train.distributed import Ranks, agree_on_names, sum_over_ranks
from funrecipe.train.measures import Measure
from funrecipe.train.objectives.output import LossOutput
from funrecipe.train.progress_log import Mean

Loss = Callable[[nn.Module, Batch, torch.Generator], LossOutput]


@dataclass
class Evaluator:
    """Callable ``model -> values``: weighted means of the losses (``loss``, ``acc``, ...) and those of ``measure``.

    Accuracy in training counts tokens at given lengths and is optimistic; ``cer_decode`` comes from decoding as users
    do, with greedy search.

    Attributes:
        loader: validation batches, not augmented; every rank takes its part.
        decoded_keys: utterances to decode; None: all.
    """

    loader: BatchLoader
    loss: Loss
    measure: Measure | None
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    decoded_keys: frozenset[str] | None = None

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Raises DataError when the model has diverged, UnjudgedError when the values would be those of a part only."""
        model.eval()
        self.loader.failed.clear()
        means = Mean()
        counts = [0.0] * (self.measure.size if self.measure else 0)
        for batch in self.batches():
            output = self.loss(model, batch, torch.Generator().manual_seed(0))
            if not torch.isfinite(output.loss):
                raise DataError(
                    f"the validation loss is not finite ({', '.join(batch.keys[:3])}): training has diverged",
                    hint="use a lower --lr, a scheduler with warm-up, or a lower --grad_clip, in another output_dir",
                )
            means.add(output.stats, output.weight)
            rows = [i for i, key in enumerate(batch.keys) if self.decoded_keys is None or key in self.decoded_keys]
            if self.measure is not None and rows:
                counts = [a + b for a, b in zip(counts, self.measure.count(model, batch, rows), strict=True)]
        model.train()
        return self.combine(means, counts)

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

    def combine(self, means: Mean, counts: list[float]) -> dict[str, float]:
        """Means over all ranks. Raises UnjudgedError on every rank."""
        names = agree_on_names(sorted(means.sums), self.ranks, self.device)
        both = [values.get(name, 0.0) for values in (means.sums, means.weights) for name in names]
        failed = self.loader.failed
        *total, num_failed = sum_over_ranks([*both, *counts, float(len(failed))], self.ranks, self.device)
        if num_failed:
            raise UnjudgedError(
                f"{num_failed:g} of the validation utterances can no longer be read, so the epoch cannot be judged",
                where=next(iter(failed), None),
                hint="put them back and run the same command again: it resumes with this validation",
            )
        sums, weights, rest = total[: len(names)], total[len(names) : 2 * len(names)], total[2 * len(names) :]
        values = {name: value / weight for name, value, weight in zip(names, sums, weights) if weight}
        return values | (self.measure.values(rest) if self.measure else {})
