"""``funrecipe status``: the progress of a run, and its summary once it has ended."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output_dir", type=Path, help="output_dir of infer.sh")
    parser.add_argument("--watch", action="store_true", help="wait with a progress bar until the run has ended")
    parser.add_argument(
        "--data_dir", type=Path, help="show the score only if it is of the texts in this folder (default: the plan's)"
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.plan import read_plan
    from funrecipe.jobs.summary import summary
    from funrecipe.jobs.watch import Watch, is_published

    plan = Watch(args.output_dir).until_it_ends() if args.watch else read_plan(args.output_dir)
    print("\n".join(summary(plan, args.data_dir)))
    if args.watch and not is_published(plan):
        print("everything is decoded but nothing is published: run the same command again")
