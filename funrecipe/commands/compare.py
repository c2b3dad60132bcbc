"""``funrecipe compare A B``: two scored runs (or two hypothesis files with --ref) on the same utterances."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from funrecipe.score.scoring import Scoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("first", metavar="A", help="output_dir or 1best_recog of a scored run; with --ref a file of hypotheses")
    add("second", metavar="B", help="the same for the other system")
    add("--ref", help="references; A and B are then files of hypotheses")
    add("--tokens", default="mixed", choices=("mixed", "char", "word"), help="what is one token, as in funrecipe score")
    add("--profile", metavar="NAME", help="normalize both sides first (default: none)")
    add("--out", help="write everything as JSON")


def run(args: argparse.Namespace) -> None:
    from funrecipe.files import write_json
    from funrecipe.score.compare import compare

    first, second = _score(args, args.first), _score(args, args.second)
    result = compare(first, second)
    if args.out:
        write_json(args.out, {"names": [args.first, args.second], **result})
    _print(args.first, args.second, result)


def _score(args: argparse.Namespace, path: str) -> Scoring:
    from funrecipe.data.texts import stream_texts
    from funrecipe.score.result_folder import ResultFolder
    from funrecipe.score.scoring import normalize_both, score_texts

    refs, hyps = (
        (dict(stream_texts(args.ref)), dict(stream_texts(path))) if args.ref else ResultFolder.open(path).texts()
    )
    *texts, normalization = normalize_both(refs, hyps, args.profile)
    return score_texts(*texts, unit=args.tokens, normalization=normalization)


def _print(first_name: str, second_name: str, result: dict) -> None:
    for letter, name, key in (("A", first_name, "first"), ("B", second_name, "second")):
        system = result[key]
        interval = system["interval"]
        bounds = f" [{interval['low']:.2f}, {interval['high']:.2f}]" if interval else ""
        print(
            f"{letter}: {system['rate']:.2f} %{bounds}  {system['errors']} / {system['tokens']}, "
            f"{system['insertions']} ins, {system['deletions']} del, {system['substitutions']} sub, "
            f"{system['missing']} missing  {name}"
        )
    paired, matched = result["paired_bootstrap"], result["mapsswe"]
    difference, low, high = (round(paired[key], 2) + 0.0 for key in ("difference", "low", "high"))  # no -0.00
    print(
        f"B - A: {difference:+.2f} points [{low:+.2f}, {high:+.2f}] (95 %, paired "
        f"bootstrap of utterances); share of draws in which B is better: {paired['probability_second_better']:.3f}"
    )
    print(
        f"MAPSSWE: {matched['segments']} segments, mean {matched['mean']:+.3f}, z {matched['z']:+.3f}, "
        f"p {matched['p']:.2g}: {'different' if matched['significant'] else 'no difference shown'} at the 5 % level"
    )
    for title, key in (("improved most by B", "improved"), ("worsened most by B", "worsened")):
        if result[key]:
            print(f"{title}: " + ", ".join(f"{item['id']} ({item['change']:+d})" for item in result[key][:5]))
