"""``funrecipe cmvn``: ``am.mvn``, the mean and variance of the features of a training set."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", type=Path, required=True, help="the training set: a folder with wav.scp")
    parser.add_argument("--config", type=Path, required=True, help="config.yaml; its frontend_conf is used")
    parser.add_argument("--out", type=Path, required=True, help="am.mvn to write")
    parser.add_argument(
        "--max_utterances", type=int, default=2000, help="use at most N evenly spaced utterances (0: all)", metavar="N"
    )


def run(args: argparse.Namespace) -> int:
    from funrecipe.errors import DataError
    from funrecipe.train.make_data.statistics import write_statistics
    from funrecipe.train.options import read_yaml_file

    if not args.config.is_file():
        raise DataError("no such configuration", where=str(args.config), hint="name a file: config.yaml of a model")
    conf = read_yaml_file(args.config).get("frontend_conf") or {}
    frames = write_statistics(args.data_dir, conf, args.out, max_utterances=args.max_utterances)
    print(f"{args.out}: statistics of {frames} frames")
    return 0
