"""``funrecipe status``: the progress of a run, and its summary once it has ended."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output_dir", type=Path, help="output_dir of infer.sh")
    parser.add_argument("--data_dir", type=Path, help="a score counts only for the texts there (default: the plan's)")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.plan import read_plan
    from funrecipe.jobs.summary import summary

    print("\n".join(summary(read_plan(args.output_dir), args.data_dir)))
