"""What a worker of a parallel run (``funrecipe decode``) computes with a VAD model: the segments of every recording.

The line stands where a recognizer's text would, as in the original recipe: ``key [[start, end], ...]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.vad.detector import VoiceActivityDetector


class VadWorker:
    """A detector in the place of a recognizer."""

    def __init__(self, detector: VoiceActivityDetector) -> None:
        self._detector = detector
        self.sample_rate_hz = detector.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """One line of segments in ms per waveform (S,); ``[]`` without speech."""
        return [Hypothesis([], str(self._detector.segments(waveform)), 0.0) for waveform in waveforms]
