"""Sampling-rate conversion with libsoxr (the converter of SoX), its quality ``HQ``: 20-bit, linear phase."""

from __future__ import annotations

import numpy as np


def resample(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Change the sampling rate.

    Args:
        waveform: float32 ``(S,)``.
        from_hz, to_hz: rates; equal rates return the waveform itself.

    Returns:
        float32 ``(ceil(S * to_hz / from_hz),)``, up to one sample.
    """
    if from_hz == to_hz or waveform.size == 0:
        return waveform
    import soxr

    return np.ascontiguousarray(soxr.resample(waveform, from_hz, to_hz, quality="HQ"), dtype=np.float32)
