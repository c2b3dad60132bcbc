"""Sampling-rate conversion with libsoxr (the converter of SoX), its quality ``HQ``: 20-bit, linear phase."""

from __future__ import annotations

from typing import Any

import numpy as np


def resample(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Change the sampling rate.

    Args:
        waveform: float32 (S,).
        from_hz, to_hz: rates; equal rates return the waveform itself.

    Returns:
        float32 ``(ceil(S * to_hz / from_hz),)``, up to one sample.
    """
    if from_hz == to_hz or waveform.size == 0:
        return waveform
    import soxr

    return np.ascontiguousarray(soxr.resample(waveform, from_hz, to_hz, quality="HQ"), dtype=np.float32)


class StreamResampler:
    """As :func:`resample`, for a recording in blocks; the cuts leave no trace.

    A block of another rate than the one before ends that one's part of the recording.
    """

    def __init__(self, to_hz: float) -> None:
        self.to_hz = to_hz
        self._from_hz: float | None = None
        self._stream: Any = None

    def convert(self, block: np.ndarray, from_hz: float) -> np.ndarray:
        """The part of the result that ``block`` (S,) completes."""
        before = np.zeros(0, np.float32)
        if from_hz != self._from_hz:
            before = self.flush()
            self._from_hz = from_hz
            if from_hz != self.to_hz:
                import soxr

                self._stream = soxr.ResampleStream(from_hz, self.to_hz, 1, dtype="float32", quality="HQ")
        converted = block if self._stream is None else self._stream.resample_chunk(block)
        return np.concatenate((before, converted)) if len(before) else np.asarray(converted)

    def flush(self) -> np.ndarray:
        """The rest, after the last block."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream = self._from_hz = None
        return np.asarray(rest)
