"""Cutting speech into the windows that diarization embeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW_S = 1.5
HOP_S = 0.75


@dataclass(frozen=True)
class Window:
    """A part of a recording, in seconds from its start, and its samples (S,): always ``WINDOW_S`` of them."""

    start_s: float
    end_s: float
    samples: np.ndarray


def cut_windows(segment: np.ndarray, start_s: float, sample_rate_hz: int) -> list[Window]:
    """Overlapping windows of one segment of speech.

    A window that would pass the end is moved back to end there. A segment shorter than a window gives one that is
    padded with zeros and whose end is the segment's.

    Args:
        segment: samples (S,); start_s: where it begins in the recording.
    """
    length, hop, size = len(segment), round(HOP_S * sample_rate_hz), round(WINDOW_S * sample_rate_hz)
    if length == 0:
        return []
    if length < size:
        samples = np.pad(np.asarray(segment, np.float32), (0, size - length))
        return [Window(start_s, start_s + length / sample_rate_hz, samples)]
    starts = list(range(0, length - size + 1, hop))
    if starts[-1] + size < length:
        starts.append(length - size)
    return [
        Window(
            start_s + first / sample_rate_hz,
            start_s + (first + size) / sample_rate_hz,
            np.asarray(segment[first : first + size], np.float32),
        )
        for first in starts
    ]
