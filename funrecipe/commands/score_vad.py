"""``funrecipe score_vad``: voice activity against a reference: miss, false alarm, frame error, detection cost."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ref", type=Path, required=True, help="lines 'key [[start_ms, end_ms], ...]', or an RTTM file *.rttm")
    add("--hyp", type=Path, required=True, help="the same for the results, such as 1best_recog/text")
    add("--reco2dur", type=Path, help="seconds of each recording (default: up to the last segment of either side)")
    add("--baseline", type=Path, help="results of another system, A, to compare with those of --hyp, B")
    add("--out", type=Path, help="JSON to write: the rates, in total and for each recording")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.texts import read_durations
    from funrecipe.files import write_json
    from funrecipe.score.compare import compare_segments
    from funrecipe.score.segments import VadErrors, read_segments, require_results, score_recordings

    durations_s = read_durations(args.reco2dur) if args.reco2dur else {}
    durations_ms = {key: round(1000 * seconds) for key, seconds in durations_s.items()}
    references, found = read_segments(args.ref), read_segments(args.hyp)
    require_results(references, args.hyp, found)
    errors = score_recordings(references, found, durations_ms, where=str(args.hyp))
    total = sum(errors.values(), VadErrors())
    lines = total.lines()
    if args.baseline:
        before = read_segments(args.baseline)
        require_results(references, args.baseline, before)
        lines.append(compare_segments(references, before, found, durations_ms))
    if args.out:
        recordings = {key: of_one.as_json() for key, of_one in errors.items()}
        write_json(args.out, {**total.as_json(), "recordings": recordings})
    print("\n".join(lines))
