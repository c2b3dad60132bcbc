"""How often pairs of characters occur: 16 bytes for each different pair, of which a large test set has millions."""

from __future__ import annotations

import numpy as np

LEAST_MERGED = 1 << 20


class PairCounts:
    """Pairs are numbers: a code point, and 32 bits higher another one."""

    def __init__(self) -> None:
        self._pairs = self._numbers = np.empty(0, dtype=np.int64)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_new = 0

    def add(self, pairs: np.ndarray) -> None:
        """Count pairs (N,) int64, which may repeat."""
        distinct, numbers = np.unique(pairs, return_counts=True)
        self._new.append((distinct, numbers))
        self._num_new += len(distinct)
        if self._num_new > max(LEAST_MERGED, len(self._pairs)):  # so that each pair is merged a few times only
            self._merge()

    def most_frequent(self, number: int) -> list[tuple[tuple[str, str], int]]:
        """((one, other), count) of at least the ``number`` most frequent, and of all that equal the last of them."""
        self._merge()
        least = np.partition(self._numbers, -number)[-number] if len(self._numbers) > number else 0
        chosen = self._numbers >= least
        found = zip(self._pairs[chosen].tolist(), self._numbers[chosen].tolist())
        return [((chr(pair >> 32), chr(pair & 0xFFFFFFFF)), count) for pair, count in found]

    def _merge(self) -> None:
        pairs, numbers = (np.concatenate(part) for part in zip((self._pairs, self._numbers), *self._new))
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        self._numbers = np.add.reduceat(numbers[order], starts) if len(starts) else numbers
        self._pairs = pairs[starts]
        self._new, self._num_new = [], 0
