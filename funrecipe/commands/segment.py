"""``funrecipe segment``: recordings of a data directory -> a data directory of their pieces, to be decoded."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.audio.settings import add_audio_arguments
    from funrecipe.decode.options import DEFAULT_MAX_PIECE_S
    from funrecipe.recordings.merging import add_merge_arguments

    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="folder with the wav.scp of the recordings")
    add("--vad_model", help="VAD model: folder or id; without it, pieces are cut where it is quiet")
    add_merge_arguments(parser)
    add("--model", help="recognizer, whose configuration.json names the models that are 'auto'")
    for name in ("punc_model", "spk_model", "formats"):
        add(f"--{name}", help="of the steps to come; checked now, before hours of decoding")
    add(
        "--max_piece_s",
        type=float,
        default=DEFAULT_MAX_PIECE_S,
        help="longest piece (default: %(default)s; 0: no limit)",
    )
    add("--njob", type="positive", default=1, help="processes (default: %(default)s)")
    add_audio_arguments(parser)
    add("piece_dir", metavar="OUT_DIR", type=Path, help="folder to write: wav.scp, segments, pieces")


def run(args: argparse.Namespace) -> None:
    from funrecipe.audio.settings import settings_given
    from funrecipe.data.kaldi_dir import read_data_dir
    from funrecipe.hub import open_companion
    from funrecipe.recordings.cut_list import CutOptions, cut_to_dir
    from funrecipe.recordings.cutting import NEVER_S
    from funrecipe.recordings.formats import parse_formats
    from funrecipe.recordings.merging import chosen_length_s

    audio = settings_given(args)
    utterances = read_data_dir(args.data_dir, allow_pipes=audio.allow_pipes).utterances
    parse_formats(args.formats or "")
    models = {role: getattr(args, role) for role in ("vad_model", "punc_model", "spk_model")}
    vad, *_ = (open_companion(name, role, args.model) if name else None for role, name in models.items())
    merge_s = chosen_length_s(args.merge_vad == "true", args.merge_length_s, has_vad=vad is not None)
    options = CutOptions(None if vad is None else vad.path, args.max_piece_s or NEVER_S, audio=audio, merge_s=merge_s)
    cut = cut_to_dir(utterances, args.piece_dir, options, processes=args.njob)
    if cut is None:
        print(f"the pieces in {args.piece_dir} are up to date")
        return
    pieces = sum(len(recording.pieces) for recording in cut)
    failed = sum(bool(recording.error) for recording in cut)
    print(
        f"{count(len(cut), 'recording')}, {count(pieces, 'piece')}" + (f", {failed} cannot be read" if failed else "")
    )
