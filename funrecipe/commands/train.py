"""``funrecipe train``: fine-tune a model folder, or train from a configuration."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.train.options import add_option_arguments

    add_option_arguments(parser)
    parser.add_argument("--check", choices=("data", "model"), help="only check the data, or only build the model")
    parser.add_argument("--from_file", default="", metavar="FILE:NAME,...", help=argparse.SUPPRESS)  # by recipes


def run(args: argparse.Namespace) -> None:
    from funrecipe.errors import FunrecipeError
    from funrecipe.processes import interrupt_on_signals

    interrupt_on_signals()
    from funrecipe.train.launcher import tell_launcher
    from funrecipe.train.options import flags_of

    file, _, names = args.from_file.rpartition(":")
    try:
        flags = flags_of(args)
        from funrecipe.train.run import train  # which imports torch

        train(flags, check=args.check, from_file=dict.fromkeys(names.split(","), file))
    except FunrecipeError as error:
        tell_launcher(error)
        raise
