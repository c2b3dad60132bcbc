"""Waveforms that lie padded in one array, as a device takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True)
class PaddedWaves(Sequence[np.ndarray]):
    """A sequence of waveforms (S,), the rows of ``matrix`` (B, S) float32 up to their lengths; zeros past them."""

    matrix: np.ndarray
    lens: Sequence[int]

    def __len__(self) -> int:
        return len(self.lens)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.matrix[index, : self.lens[index]]
