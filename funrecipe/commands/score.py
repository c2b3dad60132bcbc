"""``funrecipe score``: error rates of hypotheses against references, matched by utterance id.

Stage 2 (``--protocol strict``, the default) writes ``text.cer`` and a JSON file next to it; stage 3
(``--protocol speechio``) writes SpeechIO's ``DETAILS.txt`` and ``RESULTS.txt``, and the strict result where it differs.
"""

from __future__ import annotations

import argparse

from funrecipe.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.score.options import add_option_arguments

    add_option_arguments(parser)
    parser.add_argument(
        "--meta", action="append", default=[], metavar="KEY=VALUE", help="recorded in the JSON (may be repeated)"
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.score_run import score_run
    from funrecipe.score.options import OPTIONS, ScoreOptions

    given = {option.name: getattr(args, option.name) for option in OPTIONS}
    for line in score_run(ScoreOptions(**given, meta=parse_meta(args.meta))):
        print(line)


def parse_meta(pairs: list[str]) -> dict[str, str]:
    meta: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--meta needs KEY=VALUE, not '{pair}'", where="--meta")
        meta[key] = value
    return meta
