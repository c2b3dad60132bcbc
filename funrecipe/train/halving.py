"""Compute a batch that does not fit in memory in halves, whose gradients add up to the batch's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from funrecipe.processes import is_out_of_memory
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.output import LossOutput

log = logging.getLogger(__name__)

Part = tuple[int, Batch]
"""The number of a batch in its epoch, and the batch or a part of it."""


def add_gradients(
    parts: list[Part],
    outputs: list[LossOutput],
    compute: Callable[[int, Batch], LossOutput],
    forget: Callable[[], None],
) -> Batch | None:
    """Compute those of ``parts`` that have no output yet; the utterance that does not fit by itself, if there is one.

    A part that does not fit is replaced by its halves. Everything is then computed again: what the failed call has
    added to the gradients cannot be told from the rest.

    Args:
        compute: adds the gradient of a part.
        forget: drops all gradients and releases memory.
    """
    while len(outputs) < len(parts):
        number = len(outputs)
        index, batch = parts[number]
        try:
            outputs.append(compute(index, batch))
            continue
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # outside the except clause, whose traceback keeps the tensors of the failed call alive
        outputs.clear()
        forget()
        if len(batch.keys) == 1:
            return batch
        count, frames = batch.feats.shape[:2]
        log.info("out of memory: a batch of %d utterances of up to %d frames is computed in halves", count, frames)
        parts[number : number + 1] = [(index, half) for half in batch.halves()]
    return None


def outputs_by_batch(parts: Sequence[Part], outputs: Sequence[LossOutput]) -> list[list[LossOutput]]:
    """The outputs of the parts of each batch."""
    batches: dict[int, list[LossOutput]] = {}
    for (index, _), output in zip(parts, outputs):
        batches.setdefault(index, []).append(output)
    return list(batches.values())
