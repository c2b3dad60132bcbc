"""``funrecipe score``: error rates of hypotheses against references, matched by utterance id."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ref", required=True, help="references: lines of 'id text'")
    parser.add_argument("--hyp", required=True, help="hypotheses: lines of 'id text'")
    parser.add_argument("--out", help="text.cer to write; a JSON file of the same name with .json goes beside it")
    parser.add_argument("--tokens", default="mixed", choices=("mixed", "char", "word"),
                        help="CJK per character and other scripts per word (default), every character, or every word")
    parser.add_argument("--missing", default="strict", choices=("strict", "present", "error"),
                        help="a reference without a hypothesis is deletions (default), left out, or an error")
    parser.add_argument("--meta", action="append", default=[], metavar="KEY=VALUE",
                        help="recorded in the JSON (may be repeated), for example weights=sha256:…")
    parser.add_argument("--plan", type=Path, help="plan.json of the run: its model and options go into the JSON")


def run(args: argparse.Namespace) -> None:
    from funrecipe.score.rates import score_texts
    from funrecipe.score.read import read_texts
    from funrecipe.score.summary import summary_json
    from funrecipe.score.text_cer import summary_lines, write_text_cer
    from funrecipe.score.write import write_json

    meta = parse_meta(args.meta)
    if args.plan and args.plan.exists():
        from funrecipe.jobs.plan import read_plan

        meta = read_plan(args.plan).summary() | meta
    refs, hyps = read_texts(args.ref), read_texts(args.hyp)
    scoring = score_texts(refs, hyps, unit=args.tokens, missing_policy=args.missing)
    if args.out:
        write_text_cer(args.out, scoring)
        write_json(f"{args.out}.json", summary_json(scoring, meta))
    print("\n".join([*summary_lines(scoring), scoring.coverage.line()]))


def parse_meta(pairs: list[str]) -> dict[str, str]:
    meta: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--meta wants KEY=VALUE, not '{pair}'", where="--meta")
        meta[key] = value
    return meta
