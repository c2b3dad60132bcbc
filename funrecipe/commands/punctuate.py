"""``funrecipe punctuate``: marks for a list of texts -> infer.out, as the original recipe writes it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from funrecipe.punctuation.punctuator import Punctuator

CHUNK_TEXTS = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, help="punctuation model: folder or id")
    add("--weights", type=Path, help="a checkpoint to use instead of the model's")
    add("--text_rules", default="0.7", help="rules for writing punctuation: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--njob", type=int, default=1, help="processes (default: %(default)s)")
    add("texts", metavar="TEXTS", type=Path, help="lines 'key text'")
    add("output_dir", metavar="OUT_DIR", type=Path, help="folder for infer.out: lines 'key <tab> text', sorted")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_texts
    from funrecipe.errors import UsageError
    from funrecipe.files import write_text
    from funrecipe.hub import open_model
    from funrecipe.punctuation.punctuator import check_rules

    if args.njob < 1:
        raise UsageError(f"--njob must be 1 or more, got {args.njob}")
    check_rules(args.text_rules)
    texts = dict(sorted(read_texts(args.texts).items()))
    folder = open_model(args.model).path
    _punctuator(folder, args.weights)  # what is wrong with the model is an error now
    marked = list(punctuate(list(texts.values()), folder, args.weights, args.text_rules, args.njob))
    args.output_dir.mkdir(parents=True, exist_ok=True)
    write_text(args.output_dir / "infer.out", (f"{key}\t{text}\n" for key, text in zip(texts, marked, strict=True)))
    print(f"{len(texts)} texts in {args.output_dir / 'infer.out'}")


def punctuate(texts: Sequence[str], folder: Path, weights: Path | None, rules: str, njob: int) -> Iterator[str]:
    """The texts with marks, in order; the same for any number of processes."""
    if njob == 1 or len(texts) <= CHUNK_TEXTS:
        yield from (_punctuate(text, folder, weights, rules) for text in texts)
        return
    with ProcessPoolExecutor(njob, get_context("spawn"), _one_thread) as pool:
        columns = ([value] * len(texts) for value in (folder, weights, rules))
        yield from pool.map(_punctuate, texts, *columns, chunksize=CHUNK_TEXTS)


@lru_cache(maxsize=1)
def _punctuator(folder: Path, weights: Path | None) -> Punctuator:
    from funrecipe.model_folder import open_model_folder
    from funrecipe.punctuation.punctuator import load_punctuator

    return load_punctuator(open_model_folder(folder), weights=weights)


def _punctuate(text: str, folder: Path, weights: Path | None, rules: str) -> str:
    return _punctuator(folder, weights).punctuate(text, rules).text


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
