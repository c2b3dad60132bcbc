"""``funrecipe merge``: join the outputs of the shards, or refuse when an utterance is not accounted for."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--digest", help="refuse any plan but this one")
    parser.add_argument(
        "--max_failed",
        type=int,
        default=0,
        metavar="N",
        help="publish if at most N utterances could not be decoded (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.merge_run import merge_run

    print("\n".join(merge_run(args.plan, args.digest, max_failed=args.max_failed)))
