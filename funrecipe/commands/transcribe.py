"""``funrecipe transcribe``: audio files of any length to text, subtitles and more, on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

QUICKSTART = Path(__file__).resolve().parents[2] / "egs" / "quickstart"
NO_MODEL = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.audio.settings import add_channel_arguments
    from funrecipe.decode.options import add_option_arguments
    from funrecipe.recordings.formats import FORMATS
    from funrecipe.recordings.merging import add_merge_arguments

    add = parser.add_argument
    add("files", nargs="+", help="audio files")
    add("--model", help="recognizer: folder or id (default: the quick start's)")
    add("--vad_model", help="voice activity detection: folder, id or 'none' (default: the quick start's)")
    add_merge_arguments(parser)
    add("--punc_model", default=NO_MODEL, help="punctuation: folder or id (default: none)")
    add("--spk_model", default=NO_MODEL, help="speaker embeddings, to label speakers: folder or id (default: none)")
    add("--formats", default="txt", help=f"some of {', '.join(FORMATS)} (default: %(default)s)")
    add("--output_dir", type=Path, help="write NAME.txt ... there (default: print; one format only)")
    add("--text_rules", default="1.4", help="how punctuation is written: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--n_speakers", type="positive", help="number of speakers (default: estimated)")
    add("--ncpu", type="threads", help="threads on the CPU (default: all cores)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (default: %(default)s)")
    add_channel_arguments(parser)
    add_option_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from funrecipe.audio.settings import settings_given
    from funrecipe.decode.options import options_given
    from funrecipe.errors import DataError, IncompleteRunError, UsageError
    from funrecipe.files import make_folder
    from funrecipe.recordings.formats import FORMATS, parse_formats, write_formats
    from funrecipe.recordings.merging import chosen_length_s
    from funrecipe.recordings.transcribe_files import transcribe_files
    from funrecipe.recordings.transcriber import Failure

    if "" in args.files:  # as an unset variable of a script gives it
        where = f"file {args.files.index('') + 1} of {len(args.files)}"
        raise UsageError("the name of a file is empty", where=where, hint="name an audio file")
    formats = parse_formats(args.formats)
    if not formats or (args.output_dir is None and len(formats) > 1):
        hint = "give a folder with --output_dir, or a single format"
        raise UsageError(f"{len(formats)} formats cannot be printed", where="--formats", hint=hint)
    if args.output_dir is not None:
        make_folder(args.output_dir)
    how: dict[str, Any] = {name: getattr(args, name) for name in ("device", "text_rules", "n_speakers")}
    failed = 0
    has_vad = args.vad_model != NO_MODEL
    how["merge_s"] = chosen_length_s(args.merge_vad == "true", args.merge_length_s, has_vad=has_vad)
    how |= {"options": options_given(args), "audio": settings_given(args)}
    for path, result in transcribe_files(args.files, open_models(args), **how):
        if isinstance(result, Failure):
            failed += 1
            print(f"funrecipe transcribe: {result.error}", file=sys.stderr)
        elif args.output_dir is None:
            heading = f"== {path} ==\n" if len(args.files) > 1 else ""
            print(heading + FORMATS[formats[0]][1](result), end="", flush=True)
        else:
            for written in write_formats(result, args.output_dir, formats):
                print(written)
    if not failed:
        return 0
    return DataError.exit_code if failed == len(args.files) else IncompleteRunError.exit_code


def open_models(args: argparse.Namespace) -> Any:
    """The folders of all models that were named, and the quick start's for recognition and VAD."""
    import torch

    from funrecipe.hub import open_companion, open_model
    from funrecipe.recordings.load import RecordingModels

    if args.ncpu:
        torch.set_num_threads(args.ncpu)
    own = {name: QUICKSTART / name for name in ("model", "vad")}
    vad_model = own["vad"] if args.vad_model is None else args.vad_model
    recognizer = open_model(own["model"] if args.model is None else args.model)
    others = {"vad_model": vad_model, "punc_model": args.punc_model, "spk_model": args.spk_model}
    opened = (None if n == NO_MODEL else open_companion(n, role, recognizer) for role, n in others.items())
    return RecordingModels(recognizer, *opened)
