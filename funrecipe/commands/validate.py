"""``funrecipe validate``: check the lists of a Kaldi data directory; audio is not opened."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.data.fix_dir import write_fixed_dir
from funrecipe.data.kaldi_dir import DataDir, check_data_dir
from funrecipe.data.list_file import Problem
from funrecipe.data.lists import Lists
from funrecipe.errors import count, list_problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data_dir", type=Path, required=True, help="folder with wav.scp and optionally text, segments"
    )
    parser.add_argument("--fix", type=Path, metavar="OUT_DIR", help="write a clean copy of what can be used to OUT_DIR")
    parser.add_argument(
        "--allow_pipes", choices=("true", "false"), default="false", help="accept wav.scp entries that are commands"
    )
    parser.add_argument(
        "--partial_text", choices=("true", "false"), default="false", help="accept a text that lacks utterances"
    )


def run(args: argparse.Namespace) -> int:
    allow_pipes = args.allow_pipes == "true"
    if args.fix is not None:
        return _fix(check_data_dir(args.data_dir, allow_pipes=allow_pipes), args.fix)
    found = Lists(args.data_dir, allow_pipes=allow_pipes)
    for _ in found:
        pass
    _print_warnings([problem for problem in found.problems() if not problem.is_error])
    found.raise_for_errors()
    if args.partial_text == "false":
        found.raise_for_missing_texts()
    texts = "no text" if found.num_texts is None else count(found.num_texts, "text")
    print(f"{args.data_dir}: {count(found.num_utterances, 'utterance')}, {texts}, no errors")
    return 0


def _fix(data: DataDir, out_dir: Path) -> int:
    _print_warnings(data.warnings)
    kept = write_fixed_dir(data, out_dir)
    if data.errors:
        print(f"{count(len(data.errors), 'error')}\n{list_problems([str(problem) for problem in data.errors])}")
    left_out = len(data.utterances) - len(kept)
    without_text = f", {left_out} without text left out" if left_out else ""
    print(f"wrote {count(len(kept), 'utterance')} to {out_dir}{without_text}; problems.txt lists every problem")
    return 0


def _print_warnings(warnings: list[Problem]) -> None:
    if warnings:
        print(f"{count(len(warnings), 'warning')}\n{list_problems([str(problem) for problem in warnings])}")
