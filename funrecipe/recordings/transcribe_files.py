"""Audio files of any length -> transcripts, with all models loaded here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from funrecipe.audio.io import length_s, stream_audio
from funrecipe.audio.settings import AudioSettings
from funrecipe.decode.device import find_device
from funrecipe.decode.options import DecodeOptions
from funrecipe.errors import DataError
from funrecipe.files import unique_name
from funrecipe.recordings.load import RecordingModels, load_transcriber
from funrecipe.recordings.transcriber import Failure
from funrecipe.recordings.transcript import RecordingTranscript


def transcribe_files(
    files: Sequence[str],
    models: RecordingModels,
    *,
    options: DecodeOptions,
    audio: AudioSettings | None = None,
    device: str = "auto",
    text_rules: str = "1.4",
    n_speakers: int | None = None,
    merge_s: float = 0.0,
) -> Iterator[tuple[str, RecordingTranscript | Failure]]:
    """Each file with its result, in order, with a progress bar where stderr is a terminal.

    Args:
        audio: how the files are read; ``allow_pipes`` has no effect, a name is always that of a file.
        device: ``auto``: the GPU if there is one. The others as in :func:`load_transcriber`.
    """
    keys = name_files(files)
    device = find_device(device)
    with tqdm(total=_total_s(files), unit="s", unit_scale=True, disable=None) as bar:
        transcriber = load_transcriber(
            models,
            device=device,
            options=options,
            text_rules=text_rules,
            n_speakers=n_speakers,
            merge_s=merge_s,
            on_progress=bar.update,
        )
        rate_hz = transcriber.recognizer.sample_rate_hz
        how = vars(replace(audio or AudioSettings(), allow_pipes=False))
        results = transcriber.transcribe((key, stream_audio(keys[key], sample_rate_hz=rate_hz, **how)) for key in keys)
        yield from zip(keys.values(), results)


def name_files(files: Iterable[str]) -> dict[str, str]:
    """Name of each result -> file: the file's name without its ending, made unique."""
    named: dict[str, str] = {}
    for file in files:
        named[unique_name(Path(file).stem or "audio", named)] = file
    return named


def _total_s(files: Iterable[str]) -> float | None:
    """Seconds of all files, or None where a header does not say."""
    total_s = 0.0
    for file in files:
        try:
            seconds = length_s(file, audio_fs=16000)
        except DataError:
            seconds = None
        if seconds is None:
            return None
        total_s += seconds
    return total_s
