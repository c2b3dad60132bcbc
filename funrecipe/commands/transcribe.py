"""``funrecipe transcribe``: audio files of any length to text, subtitles and more, on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from funrecipe.recordings.transcriber import Failure
    from funrecipe.recordings.transcript import RecordingTranscript

QUICKSTART = Path(__file__).resolve().parents[2] / "egs" / "quickstart"
NO_MODEL = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.decode.options import add_option_arguments
    from funrecipe.recordings.formats import FORMATS

    add = parser.add_argument
    add("files", nargs="+", help="audio files")
    add("--model", help="recognizer: folder or id (default: the quick start's)")
    add("--vad_model", help="voice activity detection: folder, id or 'none' (default: the quick start's)")
    add("--punc_model", default=NO_MODEL, help="punctuation: folder or id (default: none)")
    add("--spk_model", default=NO_MODEL, help="speaker embeddings, to label speakers: folder or id (default: none)")
    add("--formats", default="txt", help=f"some of {', '.join(FORMATS)} (default: %(default)s)")
    add("--output_dir", type=Path, help="write NAME.txt ... there (default: print; one format only)")
    add("--text_rules", default="1.4", help="how punctuation is written: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--n_speakers", type=int, help="number of speakers (default: estimated)")
    add("--ncpu", type=int, help="threads on the CPU (default: all cores)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (default: %(default)s)")
    add_option_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from funrecipe.errors import UsageError
    from funrecipe.recordings.formats import parse_formats, write_formats
    from funrecipe.recordings.transcriber import Failure

    formats = parse_formats(args.formats)
    if not formats or (args.output_dir is None and len(formats) > 1):
        hint = "name a folder with --output_dir, or one format"
        raise UsageError(f"{len(formats)} formats cannot be printed", where="--formats", hint=hint)
    keys = name_files(args.files)
    if args.output_dir is not None:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path, result in zip(keys.values(), transcripts(args, keys)):
        if isinstance(result, Failure):
            failed += 1
            print(f"funrecipe transcribe: {result.error}", file=sys.stderr)
        elif args.output_dir is None:
            _print(result, path if len(keys) > 1 else None, formats[0])
        else:
            for written in write_formats(result, args.output_dir, formats):
                print(written)
    if not failed:
        return 0
    from funrecipe.errors import DataError, IncompleteRunError

    return DataError.exit_code if failed == len(keys) else IncompleteRunError.exit_code


def name_files(files: list[str]) -> dict[str, str]:
    """Name of each result -> file: the file's name without its ending, made unique."""
    named: dict[str, str] = {}
    for file in files:
        stem = Path(file).stem or "audio"
        key, number = stem, 2
        while key in named:
            key, number = f"{stem}_{number}", number + 1
        named[key] = file
    return named


def transcripts(args: argparse.Namespace, keys: dict[str, str]) -> Iterator[RecordingTranscript | Failure]:
    """Results in order of ``keys``, with a progress bar where stderr is a terminal."""
    import torch
    from tqdm import tqdm

    from funrecipe.audio.io import stream_audio
    from funrecipe.decode.options import options_given
    from funrecipe.recordings.load import load_transcriber

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.ncpu:
        torch.set_num_threads(args.ncpu)
    with tqdm(total=_total_s(keys.values()), unit="s", unit_scale=True, disable=None) as bar:
        transcriber = load_transcriber(
            open_models(args),
            device=device,
            options=options_given(args),
            text_rules=args.text_rules,
            n_speakers=args.n_speakers,
            on_progress=bar.update,
        )
        rate_hz = transcriber.recognizer.sample_rate_hz
        recordings: Iterable[tuple[str, Iterator[np.ndarray]]] = (
            (key, stream_audio(path, sample_rate_hz=rate_hz)) for key, path in keys.items()
        )
        yield from transcriber.transcribe(recordings)


def open_models(args: argparse.Namespace) -> Any:
    """The folders of all models that were named, and the quick start's for recognition and VAD."""
    from funrecipe.hub import open_model
    from funrecipe.recordings.load import RecordingModels

    def folder(name: str | None, own: str | None = None) -> Any:
        if name is None and own is not None:
            return open_model(QUICKSTART / own)
        return None if name is None or name == NO_MODEL else open_model(name)

    recognizer = folder(args.model, "model")
    return RecordingModels(recognizer, folder(args.vad_model, "vad"), folder(args.punc_model), folder(args.spk_model))


def _total_s(files: Iterable[str]) -> float | None:
    """Seconds of all files, or None where a header does not say."""
    from funrecipe.audio.io import length_s
    from funrecipe.errors import DataError

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


def _print(result: RecordingTranscript, heading: str | None, name: str) -> None:
    from funrecipe.recordings.formats import FORMATS

    if heading is not None:
        print(f"== {heading} ==")
    print(FORMATS[name][1](result), end="", flush=True)
