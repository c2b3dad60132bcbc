"""``funrecipe verify TRIALS XVECTOR.SCP [SCORES]``: the cosine of every pair, and error rates given labels."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trials", metavar="TRIALS", type=Path, help="lines 'enroll test [target|nontarget]'")
    parser.add_argument("vectors", metavar="XVECTOR.SCP", type=Path, help="embeddings, as funrecipe embed writes them")
    parser.add_argument("scores", metavar="SCORES", nargs="?", default="-", help="- (default): standard output")


def run(args: argparse.Namespace) -> None:
    import sys

    import numpy as np

    from funrecipe.errors import count
    from funrecipe.files import write_text
    from funrecipe.score.verification import read_trials, score_trials, verification_rates
    from funrecipe.speaker.vectors import read_vectors

    trials = read_trials(args.trials)
    scores = score_trials(trials, read_vectors(args.vectors))
    lines = [f"{trial.enroll} {trial.test} {score:.5f}\n" for trial, score in zip(trials, scores, strict=True)]
    if args.scores == "-":
        sys.stdout.writelines(lines)
    else:
        write_text(args.scores, lines)
    labeled = [i for i, trial in enumerate(trials) if trial.is_target is not None]
    if labeled:
        is_target = np.array([bool(trials[i].is_target) for i in labeled])
        said = verification_rates(scores[labeled], is_target).line()
        if unlabeled := len(trials) - len(labeled):
            said += f"\n{count(unlabeled, 'trial')} of {len(trials)} without a label, not in these rates"
        print(said, file=sys.stderr if args.scores == "-" else None)
