"""``funrecipe punctuate``: marks for a list of texts -> infer.out, as the original recipe writes it."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, help="punctuation model: folder or id")
    add("--weights", type=Path, help="a checkpoint, or the folder of a fine-tuning run, to use instead of the model's")
    add("--drop_marks", action="store_true", help="the texts have marks: punctuate them anew")
    add("--text_rules", default="0.7", help="rules for writing punctuation: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--njob", type="positive", default=1, help="processes (default: %(default)s)")
    add("texts", metavar="TEXTS", type=Path, help="lines 'key text'")
    add("output_dir", metavar="OUT_DIR", type=Path, help="folder for infer.out: lines 'key <tab> text', sorted")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_texts
    from funrecipe.files import write_text
    from funrecipe.hub import open_model
    from funrecipe.model_folder.checkpoints import find_checkpoint
    from funrecipe.punctuation.in_parallel import punctuate_texts
    from funrecipe.score.punctuation import without_marks

    texts = dict(sorted(read_texts(args.texts).items()))
    if args.drop_marks:
        texts = {key: without_marks(text) for key, text in texts.items()}
    weights = find_checkpoint(args.weights) if args.weights and args.weights.is_dir() else args.weights
    how = {"weights": weights, "rules": args.text_rules, "processes": args.njob}
    marked = punctuate_texts(list(texts.values()), open_model(args.model).path, **how)
    write_text(args.output_dir / "infer.out", (f"{key}\t{text}\n" for key, text in zip(texts, marked, strict=True)))
    print(f"{count(len(texts), 'text')} in {args.output_dir / 'infer.out'}")
