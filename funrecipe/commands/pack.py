"""``funrecipe pack``: one checkpoint of a training run as a ModelScope folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", type=Path, required=True, help="output_dir of the training run")
    parser.add_argument("--checkpoint_name", default="valid.acc.ave.pb", help="weights to pack (default: %(default)s)")
    parser.add_argument("--target", type=Path, required=True, help="folder to write")
    parser.add_argument("--layout", choices=("0.x", "1.x"), default="0.x", help="ModelScope's, or FunASR 1.x's")
    parser.add_argument("--weights", choices=("torch", "safetensors"), default="torch", help="format of the weights")
    parser.add_argument("--half", action="store_true", help="store weights as float16: half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace the target if it is a model folder")


def run(args: argparse.Namespace) -> int:
    from funrecipe.train.pack import pack_model

    options = {"half": args.half, "overwrite": args.overwrite, "layout": args.layout, "weights": args.weights}
    target = pack_model(args.run_dir, args.checkpoint_name, args.target, **options)
    size_mb = sum(path.stat().st_size for path in target.iterdir()) / 1e6
    print(f"{target}: {size_mb:.1f} MB")
    return 0
