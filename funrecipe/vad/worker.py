"""What a worker of a parallel run (``funrecipe decode``) computes with a VAD model: the segments of every recording.

The line stands where a recognizer's text would, as in the original recipe: ``key [[start, end], ...]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from funrecipe.vad.detector import VoiceActivityDetector


@dataclass(frozen=True)
class Line:
    """What a recognizer's hypothesis is for a text."""

    text: str
    tokens: tuple[str, ...] = ()
    score: float = 0.0
    timestamp_ms: None = None
    nbest: None = None
    rich: None = None


class VadWorker:
    """A detector in the place of a recognizer."""

    def __init__(self, detector: VoiceActivityDetector) -> None:
        self._detector = detector
        self.sample_rate_hz = detector.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Line]:
        """One line of segments in ms per waveform (S,); ``[]`` without speech."""
        return [Line(str(self._detector.segments(waveform))) for waveform in waveforms]
