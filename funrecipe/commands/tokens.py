"""``funrecipe tokens``: the token list of a training set, one character each."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", type=Path, required=True, help="the training set: a folder with wav.scp and text")
    parser.add_argument("--out", type=Path, required=True, help="tokens.txt to write")
    parser.add_argument("--min_count", type="positive", default=1, help="rarer characters become <unk>")
    parser.add_argument(
        "--space",
        choices=("auto", "true", "false"),
        default="auto",
        help="add a token <space> for the spaces between words; auto: if most letters are of a script that has them",
    )
    parser.add_argument("--extra_characters", "--further_characters", default="", help="characters to add to the list")


def run(args: argparse.Namespace) -> int:
    from funrecipe.train.make_data.token_list import write_token_list

    space = {"auto": None, "true": True, "false": False}[args.space]
    count = write_token_list(
        args.data_dir, args.out, min_count=args.min_count, extra=args.extra_characters, space=space
    )
    print(f"{args.out}: {count} tokens")
    return 0
