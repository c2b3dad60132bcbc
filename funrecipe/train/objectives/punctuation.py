"""The loss of punctuation models: which mark follows each word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import DataError, UsageError
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import IGNORE_ID, token_accuracy
from funrecipe.train.objectives.output import LossOutput, ObjectiveConf, tokens_of


@dataclass(frozen=True)
class PunctuationConf(ObjectiveConf):
    """``model_conf`` of a punctuation model, without ``punc_weight``."""

    ignore_id: int = 0  # number of the mark that is not trained: <unk> in FunASR's lists


def punctuation_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Cross-entropy of the marks, each weighted by its ``punc_weight``, summed and divided by the number of words.

    Words with the mark ``ignore_id`` have no loss and still count. Source: FunASR ``PunctuationModel.nll`` and
    ``forward`` in training mode.

    Raises:
        DataError: the batch has no marks. UsageError: ``punc_weight`` is not one number per mark.
    """
    if batch.labels is None:
        raise DataError("punctuation training data needs marks", where=", ".join(batch.keys[:3]))
    ids = batch.text.clamp(min=0)
    logits = model(ids, batch.text_lens, known_words(model, batch, generator)).float()
    labels = batch.labels[:, : ids.size(1)]  # wider in a half of a larger batch
    targets = labels.masked_fill(labels.eq(PunctuationConf.of(model).ignore_id), IGNORE_ID)
    weights = mark_weights(model, logits)
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), weights, ignore_index=IGNORE_ID, reduction="sum")
    loss = nll / tokens_of(batch)
    parts = {"loss": loss, "acc": token_accuracy(logits, targets)}
    return LossOutput(loss, parts, float(batch.token_count))


def known_words(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """How many words of each text (B,) a real-time model has from earlier calls.

    Where the data do not say, training draws from 0 to all, so that it sees words with and without what follows them.
    """
    known = batch.text_lens.new_full((len(batch.keys),), -1) if batch.known is None else batch.known
    if not (model.training and model.realtime):
        return known
    drawn = [int(torch.randint(length + 1, (1,), generator=generator)) for length in batch.text_lens.tolist()]
    return torch.where(known < 0, torch.tensor(drawn, device=known.device), known)


def mark_weights(model: nn.Module, logits: Tensor) -> Tensor | None:
    """``punc_weight`` of ``model_conf`` (marks,); None: all marks count the same."""
    given = model.model_conf.get("punc_weight")
    if given is None:
        return None
    if len(given) != logits.size(-1):
        said = f"model_conf: punc_weight has {len(given)} numbers, and the model {logits.size(-1)} marks"
        raise UsageError(said, hint="give one for each mark of punc_list")
    return logits.new_tensor(given)
