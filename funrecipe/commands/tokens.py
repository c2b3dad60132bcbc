"""``funrecipe tokens``: the token list of a training set, one character each."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", type=Path, required=True, help="the training set: a folder with wav.scp and text")
    parser.add_argument("--out", type=Path, required=True, help="tokens.txt to write")
    parser.add_argument("--min_count", type=int, default=1, help="characters that occur less often become <unk>")
    parser.add_argument(
        "--space",
        choices=("auto", "true", "false"),
        default="auto",
        help="a token <space> for the blanks between words; auto: where most letters are of a script that has them",
    )
    parser.add_argument("--further_characters", default="", help="characters that the list gets besides")


def run(args: argparse.Namespace) -> int:
    from funrecipe.train.pack import write_token_list

    args.out.parent.mkdir(parents=True, exist_ok=True)
    space = {"auto": None, "true": True, "false": False}[args.space]
    count = write_token_list(
        args.data_dir, args.out, min_count=args.min_count, further=args.further_characters, space=space
    )
    print(f"{args.out}: {count} tokens")
    return 0
