"""``funrecipe score``: error rates of hypotheses against references, matched by utterance id.

Stage 2 (``--protocol strict``, the default) writes ``text.cer`` and a JSON file next to it; stage 3
(``--protocol speechio``) writes SpeechIO's ``DETAILS.txt`` and ``RESULTS.txt``, and the strict result where it differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from funrecipe.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.score.options import CHOICES, DEFAULTED, OPTIONS

    for name, text in OPTIONS.items():
        choices = CHOICES.get(name)
        parser.add_argument(
            f"--{name}", choices=choices, default=choices[0] if choices in DEFAULTED else None, help=text
        )
    parser.add_argument(
        "--meta", action="append", default=[], metavar="KEY=VALUE", help="recorded in the JSON (may be repeated)"
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.decode.hotwords import read_hotwords
    from funrecipe.jobs.results import forget_reports
    from funrecipe.jobs.run_record import check_results, read_run_record
    from funrecipe.score import stage2, stage3
    from funrecipe.score.options import check_options
    from funrecipe.score.read import read_texts
    from funrecipe.score.result_folder import state_of_scores, take_texts
    from funrecipe.score.side_information import SideInformation, read_side_information

    check_options(args)
    record = read_run_record(args.plan, args.digest)
    meta = {**record.summary, **parse_meta(args.meta)}
    recog, before = Path(args.results or ""), []
    if args.results:
        if args.digest:
            check_results(recog, args.digest)
        args.ref, args.hyp = take_texts(recog, Path(args.data_dir, "text"), is_partial=args.partial_text == "true")
        before = state_of_scores(recog)
        args.out, args.out_dir = str(recog / "text.cer"), args.results

    def side_of(ids: Sequence[str]) -> SideInformation:
        files = {name: getattr(args, name) for name in ("utt2spk", "utt2set", "utt2dur")}
        hotwords = read_hotwords(args.hotwords)
        data_dir = args.data_dir or record.data_dir
        return read_side_information(data_dir, **files, durations_s=record.durations_s, hotwords=hotwords, ids=ids)

    if args.protocol == "speechio":
        refs = read_texts(args.ref)
        hyps = read_texts(args.hyp, like=refs)
        profile_name = args.profile or "speechio"
        lines: Iterable[str] = stage3.score_speechio(
            refs, hyps, profile_name=profile_name, out_dir=args.out_dir, meta=meta
        )
    elif args.detail == "totals":
        lines = stage2.total_lines(args.ref, args.hyp, args.tokens or "mixed", args.missing or "strict")
    else:
        lines = stage2.score_strict(
            args.ref, args.hyp, side_of, profile_name=args.profile, unit=args.tokens or "mixed", out=args.out,
            missing_policy=args.missing or "strict", is_full=args.detail == "full", jsonl=args.jsonl,
            trn_dir=args.trn_dir, meta=meta,
        )  # fmt: skip
    try:
        for line in lines:
            print(line)
    finally:
        if args.results and state_of_scores(recog) != before:
            forget_reports(recog.parent)


def parse_meta(pairs: list[str]) -> dict[str, str]:
    meta: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--meta needs KEY=VALUE, not '{pair}'", where="--meta")
        meta[key] = value
    return meta
