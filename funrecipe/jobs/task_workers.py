"""What jobs of other tasks run in place of a recognizer. The line of an utterance stands where its text would: what the
original recipes wrote, or numbers from which a later step makes files.

VAD: ``[[start, end], ...]`` in ms, ``[]`` without speech. Speakers: see :mod:`funrecipe.speaker.from_results`.
Punctuation: the text with marks. Timestamps: ``token start end;...``, and tokens and times as of a recognizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.families import PUNCTUATION, SPEAKER, TIMESTAMP, VAD
from funrecipe.model_folder import ModelFolder

if TYPE_CHECKING:
    from funrecipe.speaker.embedding import SpeakerModel


@dataclass
class TaskWorker:
    """What the loop over a shard needs in place of a recognizer.

    Attributes:
        transcribe: waveforms (S,) -> hypotheses; of tasks whose utterances come with texts: waveforms and texts.
    """

    sample_rate_hz: int
    transcribe: Callable[..., list[Hypothesis]]
    tile_samples: ClassVar[int] = 0


def load_task_worker(
    task: str, folder: ModelFolder, options: dict[str, Any], *, device: str, weights: Path
) -> TaskWorker:
    """The worker of a task that is not recognition.

    Raises:
        UsageError, DataError, UnsafeFileError: the model is not for it, or cannot be read.
    """
    if task == VAD:
        from funrecipe.vad.detector import load_detector

        detector = load_detector(folder, device=device, weights=weights)
        return TaskWorker(
            detector.sample_rate_hz,
            lambda waveforms: [Hypothesis([], str(detector.segments(waveform)), 0.0) for waveform in waveforms],
        )
    if task == SPEAKER:
        from funrecipe.speaker.embedding import load_speaker_model

        model = load_speaker_model(folder, device=device, weights=weights)
        return TaskWorker(
            model.sample_rate_hz, lambda waveforms: _embed(model, waveforms, in_windows=bool(options.get("windows")))
        )
    if task == PUNCTUATION:
        from funrecipe.punctuation.punctuator import load_punctuator

        punctuator, rules = load_punctuator(folder, device=device, weights=weights), options["text_rules"]
        return TaskWorker(  # there is no audio
            16000, lambda _, texts: [Hypothesis([], punctuator.punctuate(text, rules).text, 0.0) for text in texts]
        )
    assert task == TIMESTAMP, task
    from funrecipe.decode.text_alignment import load_aligner

    aligner = load_aligner(folder, device=device, weights=weights)
    return TaskWorker(
        aligner.sample_rate_hz,
        lambda waveforms, texts: [
            Hypothesis(found.tokens, found.as_text(), 0.0, found.times_ms, is_estimated=found.is_estimated)
            for found in aligner.align(waveforms, texts)
        ],
    )


def _embed(model: SpeakerModel, waveforms: Sequence[np.ndarray], *, in_windows: bool) -> list[Hypothesis]:
    """Embeddings of whole utterances, or of their windows: rows ``start end embedding``, in seconds of the utterance.

    ``tokens`` says how many there are. Raises DataError for a waveform that is too short.
    """
    from funrecipe.speaker.diarization import embed_speech
    from funrecipe.speaker.vectors import line_of

    rows = [embed_speech(model, waveform, 0.0) if in_windows else model.embed(waveform)[None] for waveform in waveforms]
    return [Hypothesis([str(len(row))], line_of(row), 0.0) for row in rows]
