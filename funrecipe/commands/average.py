"""``funrecipe average``: the mean of the n best epochs of a training run, by any criterion, after the fact."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of a training run")
    parser.add_argument(
        "--criterion", default="valid,acc,max", help="what ranks the epochs: phase,value,min|max (default: %(default)s)"
    )
    parser.add_argument(
        "--print_criterion", action="store_true", help="print the first criterion of the run, and nothing else"
    )
    parser.add_argument(
        "--nbest",
        type="positive",
        help="number of epochs, or all if there are fewer; default: keep_nbest_models of the run",
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.train.options import setting_of_run

    if args.print_criterion:  # without torch
        criteria = setting_of_run(args.output_dir, "best_model_criterion", [("valid", "acc", "max")])
        print(",".join(criteria[0]))
        return
    from funrecipe.train.average_run import average_run

    for path in average_run(args.output_dir, args.criterion, args.nbest):
        epochs = json.loads(path.with_suffix(".json").read_text("utf-8"))["epochs"]
        print(f"{path}: mean of epochs {', '.join(map(str, epochs))}")
