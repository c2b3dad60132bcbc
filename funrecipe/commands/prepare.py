"""``funrecipe prepare``: token list and feature statistics of a training set, for training from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", type=Path, required=True, help="the training set: wav.scp and text")
    parser.add_argument("--config", type=Path, required=True, help="config.yaml; its frontend_conf is used")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets tokens.txt and am.mvn")
    parser.add_argument("--min_count", type=int, default=1, help="characters that occur less often become <unk>")
    parser.add_argument("--further_characters", default="", help="characters that the vocabulary gets besides")
    parser.add_argument("--max_utterances", type=int, default=2000, help="for the statistics, evenly spread; 0: all")


def run(args: argparse.Namespace) -> int:
    from funrecipe.train.from_scratch import write_statistics, write_token_list
    from funrecipe.train.options import read_yaml_file

    args.output_dir.mkdir(parents=True, exist_ok=True)
    tokens = write_token_list(
        args.data_dir, args.output_dir / "tokens.txt", min_count=args.min_count, further=args.further_characters
    )
    conf = read_yaml_file(args.config).get("frontend_conf") or {}
    frames = write_statistics(args.data_dir, conf, args.output_dir / "am.mvn", max_utterances=args.max_utterances)
    print(f"{args.output_dir}: {tokens} tokens, feature statistics of {frames} frames")
    return 0
