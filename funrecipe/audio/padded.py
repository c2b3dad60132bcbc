"""Waveforms that lie padded in one array, as a device takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class PaddedWaves(list[np.ndarray]):
    """Waveforms (S,): the rows of ``matrix`` (B, S) float32 up to their lengths; zeros past them."""

    def __init__(self, matrix: np.ndarray, lens: Sequence[int]) -> None:
        super().__init__(row[:length] for row, length in zip(matrix, lens, strict=True))
        self.matrix = matrix
