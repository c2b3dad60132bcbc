"""Model folders -> a transcriber of recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import Recognizer, load_model, make_recognizer, with_defaults
from funrecipe.errors import UsageError
from funrecipe.families import FAMILIES
from funrecipe.model_folder import ModelFolder
from funrecipe.punctuation.punctuator import load_punctuator
from funrecipe.punctuation.render import check_rules
from funrecipe.recordings.cutting import NEVER_S, QuietCutter
from funrecipe.recordings.transcriber import BATCH_AUDIO_S, BATCH_SIZE, RecordingTranscriber, SpeakerHook
from funrecipe.recordings.vad_pieces import VadCutter
from funrecipe.speaker.clustering import check_speaker_count
from funrecipe.vad.detector import load_detector


@dataclass(frozen=True)
class RecordingModels:
    """The folders of the chain; only the recognizer is needed."""

    recognizer: ModelFolder
    vad: ModelFolder | None = None
    punctuation: ModelFolder | None = None
    speaker: ModelFolder | None = None


def load_transcriber(
    models: RecordingModels,
    *,
    device: torch.device | str = "cpu",
    options: DecodeOptions | None = None,
    text_rules: str = "1.4",
    n_speakers: int | None = None,
    merge_s: float = 0.0,
    batch_size: int = BATCH_SIZE,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> RecordingTranscriber:
    """Load all models.

    Args:
        options: of the recognizer; pieces are at most as long as its ``max_piece_s``.
        text_rules: how punctuation is written.
        n_speakers: how many speakers there are; None: estimated.
        merge_s: segments of the VAD are taken together up to this length; 0: they are not.

    Raises:
        UsageError: a folder of the wrong kind, models for different sampling rates, or speakers without their model.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    check_rules(text_rules)
    check_speaker_count(n_speakers)
    if n_speakers is not None and models.speaker is None:
        raise UsageError("n_speakers has no effect without spk_model", where="n_speakers", hint="leave it out")
    recognizer = load_timed_recognizer(models.recognizer, device=device, options=options)
    max_piece_s = min(recognizer.max_piece_s, NEVER_S)
    if models.vad is None:
        cutter: QuietCutter | VadCutter = QuietCutter(recognizer.sample_rate_hz, max_piece_s)
    else:
        _check_rate(models.vad, recognizer.sample_rate_hz)
        cutter = VadCutter(load_detector(models.vad, device=device), max_piece_s, merge_s=merge_s)
    return RecordingTranscriber(
        recognizer,
        cutter,
        punctuator=None if models.punctuation is None else load_punctuator(models.punctuation, device=device),
        text_rules=text_rules,
        speaker_hook=None if models.speaker is None else _speaker_hook(models.speaker, recognizer, device, n_speakers),
        batch_audio_s=BATCH_AUDIO_S[torch.device(device).type],
        batch_size=batch_size,
        on_progress=on_progress,
    )


def load_timed_recognizer(
    folder: ModelFolder, *, device: torch.device | str = "cpu", options: DecodeOptions | None = None
) -> Recognizer:
    """A recognizer that gives the time of every token wherever the model can."""
    options = with_defaults(options, folder)
    model = load_model(folder, device=device, precision=options.precision)
    family = FAMILIES.get(folder.family)
    if family is not None and "timestamp" in family.options and getattr(model, "ctc", None) is not None:
        options = replace(options, timestamp=True)
    return make_recognizer(model, folder, device=device, options=options)


def _check_rate(folder: ModelFolder, rate_hz: int) -> None:
    if folder.sample_rate_hz != rate_hz:
        raise UsageError(
            f"this model takes {folder.sample_rate_hz} Hz, the recognizer {rate_hz} Hz",
            where=str(folder.path),
            hint="give models for the same sampling rate",
        )


def _speaker_hook(
    folder: ModelFolder, recognizer: Recognizer, device: torch.device | str, n_speakers: int | None
) -> SpeakerHook:
    from funrecipe.speaker.diarization import SpeechWindows
    from funrecipe.speaker.embedding import load_speaker_model

    model = load_speaker_model(folder, device=device)
    if model.sample_rate_hz != recognizer.sample_rate_hz:
        _check_rate(folder, recognizer.sample_rate_hz)

    class Speakers:
        def __init__(self) -> None:
            self.windows = SpeechWindows(model)

        def add(self, start_s: float, samples: np.ndarray) -> None:
            self.windows.add(start_s, samples)

        def speakers_of(self, sentences_ms: Sequence[Sequence[int]]) -> Sequence[int]:
            return self.windows.find_speakers(n_speakers).speakers_of(sentences_ms)

    return Speakers
