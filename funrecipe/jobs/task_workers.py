"""What jobs of other tasks run in place of a recognizer. The line of an utterance stands where its text would: what the
original recipes wrote, or numbers from which a later step makes files.

VAD: ``[[start, end], ...]`` in ms. Speakers: see :mod:`funrecipe.speaker.from_results`. Punctuation: the text with
marks. Timestamps: ``token start end;...``, and the tokens and their times as of a recognizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.families import PUNCTUATION, SPEAKER, TIMESTAMP, VAD
from funrecipe.model_folder import ModelFolder

if TYPE_CHECKING:
    from funrecipe.decode.text_alignment import TextAligner
    from funrecipe.punctuation.punctuator import Punctuator
    from funrecipe.speaker.embedding import SpeakerModel
    from funrecipe.vad.detector import VoiceActivityDetector


class TextWorker(Protocol):
    """What the loop needs where utterances come with texts."""

    sample_rate_hz: int

    def transcribe(self, waveforms: Sequence[np.ndarray], texts: Sequence[str]) -> list[Hypothesis]: ...


class VadWorker:
    """Segments of speech; ``[]`` without speech."""

    def __init__(self, detector: VoiceActivityDetector) -> None:
        self._detector, self.sample_rate_hz = detector, detector.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        return [Hypothesis([], str(self._detector.segments(waveform)), 0.0) for waveform in waveforms]


class SpeakerWorker:
    """Embeddings of whole utterances, or of their windows: rows ``start end embedding``, in seconds of the utterance.

    ``tokens`` says how many there are.
    """

    def __init__(self, model: SpeakerModel, *, in_windows: bool) -> None:
        self._model, self._in_windows = model, in_windows
        self.sample_rate_hz = model.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Raises DataError for a waveform that is too short."""
        from funrecipe.speaker.vectors import line_of

        rows = [self._rows(waveform) for waveform in waveforms]
        return [Hypothesis([str(len(row))], line_of(row), 0.0) for row in rows]

    def _rows(self, waveform: np.ndarray) -> np.ndarray:
        from funrecipe.speaker.windows import cut_windows

        if not self._in_windows:
            return self._model.embed(waveform)[None]
        windows = cut_windows(waveform, 0.0, self.sample_rate_hz)
        if not windows:
            return np.zeros((0, 2 + self._model.embedding_size))
        vectors = self._model.embed_windows(np.stack([window.samples for window in windows]))
        return np.hstack([np.array([(window.start_s, window.end_s) for window in windows]), vectors])


class PunctuationWorker:
    """Texts with marks; there is no audio."""

    sample_rate_hz = 16000

    def __init__(self, punctuator: Punctuator, rules: str) -> None:
        self._punctuator, self._rules = punctuator, rules

    def transcribe(self, waveforms: Sequence[np.ndarray], texts: Sequence[str]) -> list[Hypothesis]:
        return [Hypothesis([], self._punctuator.punctuate(text, self._rules).text, 0.0) for text in texts]


class AlignmentWorker:
    """When the tokens of known texts are spoken."""

    def __init__(self, aligner: TextAligner) -> None:
        self._aligner, self.sample_rate_hz = aligner, aligner.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray], texts: Sequence[str]) -> list[Hypothesis]:
        return [
            Hypothesis(found.tokens, found.as_text(), 0.0, found.times_ms, is_estimated=found.is_estimated)
            for found in self._aligner.align(waveforms, texts)
        ]


def load_task_worker(
    task: str, folder: ModelFolder, options: dict[str, Any], *, device: str, weights: Path
) -> VadWorker | SpeakerWorker | TextWorker:
    """The worker of a task that is not recognition.

    Raises:
        UsageError, DataError, UnsafeFileError: the model is not for it, or cannot be read.
    """
    if task == VAD:
        from funrecipe.vad.detector import load_detector

        return VadWorker(load_detector(folder, device=device, weights=weights))
    if task == SPEAKER:
        from funrecipe.speaker.embedding import load_speaker_model

        model = load_speaker_model(folder, device=device, weights=weights)
        return SpeakerWorker(model, in_windows=bool(options.get("windows")))
    if task == PUNCTUATION:
        from funrecipe.punctuation.punctuator import load_punctuator

        return PunctuationWorker(load_punctuator(folder, device=device, weights=weights), options["text_rules"])
    assert task == TIMESTAMP, task
    from funrecipe.decode.text_alignment import load_aligner

    return AlignmentWorker(load_aligner(folder, device=device, weights=weights))
