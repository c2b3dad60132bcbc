"""``funrecipe score_punc``: punctuation against a reference: precision, recall and F1 of every mark."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ref", type=Path, required=True, help="lines 'key text' with punctuation")
    add("--hyp", type=Path, required=True, help="the same for the results, such as infer.out")
    add("--baseline", type=Path, help="results of another system, A, to compare with those of --hyp, B")
    add("--out", type=Path, help="JSON to write")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_texts
    from funrecipe.errors import DataError
    from funrecipe.files import write_json
    from funrecipe.score.compare import compare_marks
    from funrecipe.score.punctuation import score_punctuation

    references, results = read_texts(args.ref), read_texts(args.hyp)
    score = score_punctuation(references, results, where=str(args.hyp))
    if not score.words:
        what = "no text of the reference has a word, so there is nothing to score"
        raise DataError(what, where=str(args.ref), hint="write lines 'key text' with punctuation")
    lines = score.lines()
    if args.baseline:
        before = read_texts(args.baseline)
        score_punctuation(references, before, where=str(args.baseline))
        lines.append(compare_marks(references, before, results))
    if args.out:
        write_json(args.out, score.as_json())
    print("\n".join(lines))
