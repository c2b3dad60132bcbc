"""``funrecipe score_timestamps``: times of tokens against a CTM: mean absolute error of starts and ends."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ref", type=Path, required=True, help="CTM: lines 'recording channel start duration token', in seconds")
    add("--hyp", type=Path, required=True, help="the same for the results, or a folder 1best_recog with timestamp")
    add("--out", type=Path, help="JSON to write: the errors, in total and for each recording")


def run(args: argparse.Namespace) -> None:
    from funrecipe.files import write_json
    from funrecipe.score.timestamps import TimeErrors, read_timed_tokens, score_timestamps

    references, found = read_timed_tokens(args.ref), read_timed_tokens(args.hyp)
    errors = score_timestamps(references, found, where=str(args.hyp))
    total = sum(errors.values(), TimeErrors())
    if args.out:
        recordings = {key: of_one.as_json() for key, of_one in errors.items()}
        write_json(args.out, {**total.as_json(), "recordings": recordings})
    print("\n".join(total.lines()))
