"""``funrecipe splice``: create extra training data by splicing segments of a training set."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="model (folder or id) that finds where characters end")
    parser.add_argument("--data_dir", type=Path, required=True, help="the training set: a folder with wav.scp and text")
    parser.add_argument("--out", type=Path, required=True, help="data directory to write")
    parser.add_argument("--count", type="positive", default=1500, help="number of utterances to make")
    parser.add_argument("--seed", type=int, default=0, help="random seed")


def run(args: argparse.Namespace) -> int:
    from funrecipe.hub import resolve_model
    from funrecipe.train.make_data.splicing import write_spliced

    used, total = write_spliced(resolve_model(args.model), args.data_dir, args.out, count=args.count, seed=args.seed)
    print(
        f"{args.out}: {args.count} utterances from segments of {used} recordings ({total - used} could not be aligned)"
    )
    return 0
