"""Grouping utterances into batches, and stacking them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass
class Batch:
    """What an objective gets.

    Attributes:
        keys: utterance ids, B of them.
        feats: (B, T, D), padding is zero; of a language model (B, 0, 0).
        feat_lens: (B,).
        text: (B, U) token ids, padding is -1; of a VAD model (B, T), 1 for a frame of speech, 0 for another.
        text_lens: (B,).
        phones: (B, P) ids of the auxiliary phone CTC, padding is -1; None if it is off.
        phone_lens: (B,).
        labels: (B, 4) ids of the tags that SenseVoice tells, -1 where none is stated; (B, U) ids of the marks after
            the words of a text; None for other models.
        normalizer_tokens, normalizer_utterances: what sums over tokens and over utterances are divided by, if not by
            the counts of this batch. In one rank's part of a larger batch they are the mean over ranks, so that
            averaged gradients equal those of the whole batch.
        known: (B,) of a real-time punctuation model: words from earlier calls, -1 where that is not stated.
    """

    keys: list[str]
    feats: Tensor
    feat_lens: Tensor
    text: Tensor
    text_lens: Tensor
    phones: Tensor | None = None
    phone_lens: Tensor | None = None
    labels: Tensor | None = None
    normalizer_tokens: float | None = None
    normalizer_utterances: float | None = None
    known: Tensor | None = None

    def __post_init__(self) -> None:
        self.token_count = int(self.text_lens.sum())  # now, since on a GPU this would wait for the device

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches whose losses add up to the loss of this one: both keep its normalizers."""
        middle = len(self.keys) // 2
        return self._rows(slice(0, middle)), self._rows(slice(middle, None))

    def _rows(self, rows: slice) -> Batch:
        parts = {name: x[rows] for name, x in vars(self).items() if isinstance(x, Tensor)}
        tokens = int(parts["text_lens"].max())
        parts["feats"] = parts["feats"][:, : int(parts["feat_lens"].max())]
        parts["text"] = parts["text"][:, :tokens]
        if self.labels is not None and self.feats.size(2) <= 1:  # marks after the words of a text
            parts["labels"] = parts["labels"][:, :tokens]
        tokens_of_whole = self.token_count if self.normalizer_tokens is None else self.normalizer_tokens
        count_of_whole = len(self.keys) if self.normalizer_utterances is None else self.normalizer_utterances
        sums = {"normalizer_tokens": tokens_of_whole, "normalizer_utterances": count_of_whole}
        return replace(self, keys=self.keys[rows], **parts, **sums)

    def as_arrays(self) -> dict[str, Any]:
        """Its fields, tensors as arrays; see :meth:`of_arrays`."""
        return {f.name: x.numpy() if isinstance(x := getattr(self, f.name), Tensor) else x for f in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> Batch:
        """The batch of :meth:`as_arrays`."""
        return cls(**{name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in arrays.items()})

    def pinned(self) -> Batch:
        """The same batch in pinned memory, from which a GPU can copy asynchronously."""
        return self._with(Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed = copy.copy(self)
        vars(changed).update({name: change(x) for name, x in vars(self).items() if isinstance(x, Tensor)})
        return changed


@dataclass
class Example:
    """One utterance, ready for a batch: features (T, D), token ids, phone ids, ids of labels, known words."""

    key: str
    feats: Tensor
    text: list[int]
    phones: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    known: int = -1


def pad_ids(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """``sequences`` as (B, U) int64, padded with -1, and their lengths (B,)."""
    lens = torch.tensor([len(s) for s in sequences], dtype=torch.long)
    padded = torch.full((len(sequences), int(lens.max()) if len(sequences) else 0), -1, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return padded, lens


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples; features are padded with 0, ids with -1."""
    feats = torch.nn.utils.rnn.pad_sequence([e.feats for e in examples], batch_first=True)
    text, text_lens = pad_ids([e.text for e in examples])
    batch = Batch(
        keys=[e.key for e in examples],
        feats=feats,
        feat_lens=torch.tensor([len(e.feats) for e in examples]),
        text=text,
        text_lens=text_lens,
        known=torch.tensor([e.known for e in examples]),
    )
    if any(e.phones for e in examples):
        batch.phones, batch.phone_lens = pad_ids([e.phones for e in examples])
    if any(e.labels for e in examples):
        batch.labels, _ = pad_ids([e.labels for e in examples])
    return batch


def group_under_budget(
    items: Iterable[Item], cost_of: Callable[[Item], float], budget: float, *, min_size: int = 1
) -> Iterator[list[Item]]:
    """Cut a (length-sorted) stream into groups whose padded cost, longest x count, stays within ``budget``.

    A group never has fewer than ``min_size`` items (one per rank) unless the stream ends, so one very long item may
    exceed the budget.
    """
    group: list[Item] = []
    longest = 0.0
    for item in items:
        cost = cost_of(item)
        if len(group) >= min_size and (len(group) + 1) * max(longest, cost) > budget:
            yield group
            group, longest = [], 0.0
        group.append(item)
        longest = max(longest, cost)
    if group:
        yield group
