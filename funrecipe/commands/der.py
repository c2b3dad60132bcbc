"""``funrecipe der``: diarization error rate of RTTM files, with the parts that it is made of."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ref", type=Path, required=True, help="RTTM of the references")
    add("--hyp", type=Path, required=True, help="RTTM of the hypotheses")
    add("--uem", type=Path, help="score only these parts (default: from the first to the last turn of either side)")
    add(
        "--collar",
        type=float,
        default=0.25,
        help="seconds around each reference boundary that are not scored (default: %(default)s)",
    )
    add(
        "--ignore_overlap",
        choices=("true", "false"),
        default="false",
        help="do not score where several reference speakers overlap (default: %(default)s)",
    )
    add("--out", type=Path, help="JSON to write: the rate and its parts, in total and for each recording")


def run(args: argparse.Namespace) -> None:
    from funrecipe.errors import DataError
    from funrecipe.files import write_json
    from funrecipe.score.der import score_diarization
    from funrecipe.score.rttm import read_rttm, read_uem

    score = score_diarization(
        read_rttm(args.ref),
        {} if args.hyp.is_file() and not args.hyp.stat().st_size else read_rttm(args.hyp),  # empty: no speech was found
        parts=read_uem(args.uem) if args.uem else None,
        collar_s=args.collar,
        ignore_overlap=args.ignore_overlap == "true",
    )
    if not score.total.speech_s:
        raise DataError(
            f"no speech of the references is scored, so there is no error rate ({score.total.false_alarm_s:.2f} s of "
            "false alarm)",
            where=str(args.ref),
            hint="check --uem, or make --collar smaller",
        )
    if args.out:
        write_json(args.out, score.as_json())
    print("\n".join(score.lines()))
