"""``funrecipe train``: fine-tune a model folder, or train from a configuration."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.train.options import add_option_arguments

    add_option_arguments(parser)
    parser.add_argument(
        "--check", choices=("data", "model"), help="only look at the data, or only build the model; no training"
    )


def run(args: argparse.Namespace) -> int:
    from funrecipe.errors import FunrecipeError
    from funrecipe.train.launcher import tell_launcher
    from funrecipe.train.options import flags_of
    from funrecipe.train.run import train

    try:
        train(flags_of(args), check=args.check)
    except FunrecipeError as error:
        tell_launcher(error)
        raise
    return 0
