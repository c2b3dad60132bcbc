"""``funrecipe score``: error rates of hypotheses against references, matched by utterance id.

Stage 2 (``--protocol strict``, the default) writes ``text.cer`` and a JSON file beside it; stage 3
(``--protocol speechio``) writes SpeechIO's ``DETAILS.txt`` and ``RESULTS.txt``, and the strict result where it differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from funrecipe.errors import DataError, UsageError

if TYPE_CHECKING:
    from funrecipe.jobs.run_record import RunRecord


ONLY_STRICT = ("tokens", "missing")
ONLY_WITH_SPLIT = ("out", "utt2spk", "utt2set", "utt2dur", "hotwords", "jsonl", "trn_dir")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ref", required=True, help="references: lines of 'id text'")
    add("--hyp", required=True, help="hypotheses: lines of 'id text'")
    add(
        "--protocol",
        default="strict",
        choices=("strict", "speechio"),
        help="strict: every reference counts; speechio: what the published tool scores, and strict beside it",
    )
    add(
        "--profile",
        metavar="NAME",
        help="normalize both sides: strict, itn, speechio or funasr2023 (default: not at all; in stage 3 speechio)",
    )
    add("--out", help="text.cer to write (strict); a file of the same name with .json goes beside it")
    add("--out_dir", help="folder of ref.txt, DETAILS.txt, RESULTS.txt, RESULTS.json (speechio)")
    add(
        "--tokens",
        choices=("mixed", "char", "word"),
        help="CJK per character and other scripts per word (default), every character, or every word",
    )
    add(
        "--missing",
        choices=("strict", "present", "error"),
        help="a reference without a hypothesis is deletions (default), left out, or an error",
    )
    add(
        "--detail",
        default="full",
        choices=("full", "split", "totals"),
        help="full analysis in the JSON (default), the error rate with S, D and I only, or the total only (fastest)",
    )
    add("--data_dir", help="Kaldi data directory whose utt2spk, utt2set, utt2dur are used (default: that of the plan)")
    add("--utt2spk", help="lines of 'id speaker': a table and an interval by speaker")
    add("--utt2set", help="lines of 'id set': a table by test set")
    add("--utt2dur", help="lines of 'id seconds': a table by duration")
    add("--hotwords", help="file (one a line), or the words: their recall and precision")
    add("--jsonl", help="write one JSON object per utterance, with its alignment")
    add("--trn_dir", help="write ref.trn and hyp.trn for sclite here")
    add("--meta", action="append", default=[], metavar="KEY=VALUE", help="recorded in the JSON (may be repeated)")
    add("--plan", help="plan.json of the run: its model, options and code are recorded in the JSON")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.run_record import read_run_record
    from funrecipe.score.read import read_texts

    if args.protocol == "speechio":
        _refuse(args, (*ONLY_STRICT, *ONLY_WITH_SPLIT), "--protocol speechio")
        if not args.out_dir:
            raise UsageError("--protocol speechio wants --out_dir", where="--out_dir")
    else:
        _refuse(args, ("out_dir",), "--protocol strict")
    if args.detail == "totals":
        _refuse(args, (*ONLY_WITH_SPLIT, "profile"), "--detail totals")
    if args.data_dir and not Path(args.data_dir).is_dir():
        raise DataError("there is no such folder", where="--data_dir", hint=f"make sure that {args.data_dir} exists")
    record = read_run_record(args.plan)
    meta = {**record.summary, **parse_meta(args.meta)}
    if args.protocol == "strict" and args.detail != "totals":
        _score_strict(args, meta, record)
        return
    refs = read_texts(args.ref)
    hyps = read_texts(args.hyp, like=refs)
    if args.protocol == "speechio":
        from funrecipe.score.stage3 import score_speechio

        profile_name = args.profile or "speechio"
        print("\n".join(score_speechio(refs, hyps, profile_name=profile_name, out_dir=args.out_dir, meta=meta)))
    else:
        _print_totals(args, refs, hyps)


def _refuse(args: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    """An option that would do nothing is an error, not silence."""
    for name in names:
        if getattr(args, name):
            raise UsageError(f"--{name} does nothing with {mode}", where=f"--{name}", hint="leave out one of the two")


def _score_strict(args: argparse.Namespace, meta: Mapping[str, str], record: RunRecord) -> None:
    from funrecipe.decode.hotwords import read_hotwords
    from funrecipe.files import write_json
    from funrecipe.score.export import write_json_lines, write_trn
    from funrecipe.score.read import read_texts
    from funrecipe.score.scoring import require_reference_tokens, score_normalized
    from funrecipe.score.side_information import read_side_information
    from funrecipe.score.summary import analysis_json, lines_about, summary_json
    from funrecipe.score.text_cer import summary_lines, write_text_cer

    refs = read_texts(args.ref)
    hyps = read_texts(args.hyp, like=refs)
    scoring = score_normalized(
        refs, hyps, profile_name=args.profile, unit=args.tokens or "mixed", missing_policy=args.missing or "strict"
    )
    del refs, hyps  # the scoring holds what is needed; of a million utterances these are 400 MB
    side = read_side_information(
        args.data_dir or record.data_dir,
        utt2spk=args.utt2spk,
        utt2set=args.utt2set,
        utt2dur=args.utt2dur,
        durations_s=record.durations_s,
        hotwords=read_hotwords(args.hotwords),
        ids=scoring.ids,
    )
    summary = summary_json(scoring, meta)
    if args.detail == "full":
        summary["analysis"] = analysis_json(scoring, side)
    if args.out:
        write_text_cer(args.out, scoring)
        if not args.out.startswith("/dev/"):  # there is no place beside /dev/stdout
            write_json(f"{args.out}.json", summary)
    if args.jsonl:
        write_json_lines(args.jsonl, scoring)
    if args.trn_dir:
        write_trn(args.trn_dir, scoring, side.speaker_of)
    warning = filter(None, [scoring.coverage.warning])
    print("\n".join([*summary_lines(scoring), *lines_about(summary), scoring.coverage.line(), *warning]))
    require_reference_tokens(scoring.edits.tokens, scoring.edits.insertions, scoring.coverage.scored)


def _print_totals(args: argparse.Namespace, refs: Mapping[str, str], hyps: Mapping[str, str]) -> None:
    from funrecipe.score.align import total_errors
    from funrecipe.score.scoring import compose, cover, percent, require_reference_tokens, tokenize_and_encode

    ids, coverage = cover(refs, hyps, args.missing or "strict")
    texts = ([compose(side.get(i, "").lower()) for i in ids] for side in (refs, hyps))
    _, _, encoded = tokenize_and_encode(*texts, args.tokens or "mixed")
    errors, tokens = int(total_errors(*encoded).sum()), sum(map(len, encoded[0]))
    require_reference_tokens(tokens, errors, coverage.scored)
    rate = f"%WER {percent(errors, tokens):.2f} [ {errors} / {tokens} ]"
    print("\n".join(filter(None, [rate, coverage.warning, coverage.line()])))


def parse_meta(pairs: list[str]) -> dict[str, str]:
    meta: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--meta wants KEY=VALUE, not '{pair}'", where="--meta")
        meta[key] = value
    return meta
