"""``funrecipe import``: a Kaldi data directory of a folder of audio, FunASR's jsonl, a table or lhotse cuts."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count

SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="folder of audio, .jsonl (FunASR, lhotse cuts), .csv or .tsv")
    parser.add_argument("--out", type=Path, required=True, help="the new data directory")
    parser.add_argument("--transcript", type=Path, help="for a folder: list of 'NAME TEXT', NAME without its suffix")
    parser.add_argument(
        "--audio_dir", type=Path, help="what relative audio paths are relative to (default: the source)"
    )
    for kind in ("audio", "text", "id", "speaker"):
        parser.add_argument(f"--{kind}_column", help=f"for a table: the column of the {kind}")


def run(args: argparse.Namespace) -> int:
    from funrecipe.data.import_dir import collect, write_kaldi_dir
    from funrecipe.data.sources import COLUMNS, read_source

    given = {kind: getattr(args, f"{kind}_column") for kind in COLUMNS}
    columns = {kind: name for kind, name in given.items() if name is not None}
    base = args.audio_dir or (args.source if args.source.is_dir() else args.source.parent)
    found = collect(read_source(args.source, columns, args.transcript), base)
    write_kaldi_dir(found, args.out)
    texts = sum(1 for item in found.items.values() if item.text)
    print(f"{args.out}: {count(len(found.items), 'utterance')}, {count(texts, 'text')}, {len(found.left_out)} left out")
    for where, reason in found.left_out[:SHOWN]:
        print(f"left out: {where}: {reason}")
    if len(found.left_out) > SHOWN:
        print(f"{len(found.left_out) - SHOWN} more in {args.out / 'left_out.tsv'}")
    return 0
