#!/usr/bin/env python3
"""prepare_set.py SET DATA_DIR [--max_duration S]: a SpeechIO test set as a Kaldi data directory.

SET holds ``wav.scp`` and ``trans.txt``, or ``metadata.tsv`` with the columns ID, AUDIO, DURATION, TEXT; audio paths are
relative to SET. DATA_DIR gets ``wav.scp``, ``text`` and, where durations are known, ``utt2dur``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from funrecipe.data.durations import duration_s  # noqa: E402
from funrecipe.data.kaldi_dir import Utterance  # noqa: E402
from funrecipe.data.texts import read_texts  # noqa: E402
from funrecipe.errors import DataError, FunrecipeError  # noqa: E402
from funrecipe.files import write_text  # noqa: E402


@dataclass(frozen=True)
class Item:
    id: str
    audio: str
    duration_s: float | None
    text: str | None  # None: no transcription


def read_set(folder: Path) -> list[Item]:
    if (folder / "metadata.tsv").exists():
        return read_metadata(folder)
    if not (folder / "wav.scp").exists() or not (folder / "trans.txt").exists():
        raise DataError(
            "not a SpeechIO test set: it has neither metadata.tsv nor wav.scp with trans.txt", where=str(folder)
        )
    texts = read_texts(folder / "trans.txt")
    return [Item(i, locate(folder, audio), None, texts.get(i)) for i, audio in read_texts(folder / "wav.scp").items()]


def read_metadata(folder: Path) -> list[Item]:
    path = folder / "metadata.tsv"
    # Not the csv module: a quotation mark in a transcription is a quotation mark.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    columns = lines[0].rstrip("\r").split("\t")
    if missing := {"ID", "AUDIO", "DURATION", "TEXT"} - set(columns):
        raise DataError(f"columns {sorted(missing)} are missing", where=f"{path}:1", hint=f"add them to {columns}")
    items = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != len(columns):
            raise DataError(f"{len(fields)} fields, not {len(columns)}", where=f"{path}:{number}")
        row = dict(zip(columns, fields))
        try:
            duration = float(row["DURATION"])
        except ValueError:
            raise DataError(f"'{row['DURATION']}' is not a duration", where=f"{path}:{number}") from None
        items.append(Item(row["ID"], locate(folder, row["AUDIO"]), duration, row["TEXT"]))
    return items


def locate(folder: Path, audio: str) -> str:
    """Audio of a set lies in the set; a path that does not is left to the recipe (absolute, ark, …)."""
    return str((folder / audio).absolute()) if (folder / audio).exists() else audio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--max_duration", type=float, help="in seconds; utterances of unknown duration stay")
    parser.add_argument("--max_num_utts", type=int, help="the first utterances only")
    args = parser.parse_args()
    try:
        items = read_set(args.set)
        if args.max_duration is not None:
            timed = [(item, item.duration_s or duration_s(Utterance(item.id, item.audio))) for item in items]
            items = [item for item, seconds in timed if seconds is None or seconds <= args.max_duration]
            if len(items) < len(timed):
                print(
                    f"{args.set.name}: {len(timed) - len(items)} of {len(timed)} utterances are longer than "
                    f"{args.max_duration:g} s and left out"
                )
        items = items[: args.max_num_utts]
        write_text(args.data_dir / "wav.scp", (f"{item.id} {item.audio}\n" for item in items))
        write_text(args.data_dir / "text", (f"{item.id} {item.text}\n" for item in items if item.text is not None))
        if items and all(item.duration_s is not None for item in items):
            write_text(args.data_dir / "utt2dur", (f"{item.id} {item.duration_s}\n" for item in items))
    except (FunrecipeError, OSError, UnicodeDecodeError) as error:
        print(f"prepare_set.py: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, FunrecipeError) else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
