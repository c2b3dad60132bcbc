"""The options of ``funrecipe score``, and which of them go together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import DataError, UsageError

PROTOCOLS = ("strict", "speechio")
DETAILS = ("full", "split", "totals")
DEFAULTED = (PROTOCOLS, DETAILS)
CHOICES = {
    "protocol": PROTOCOLS,
    "detail": DETAILS,
    "tokens": ("mixed", "char", "word"),
    "missing": ("strict", "present", "error"),
}
OPTIONS = {
    "results": "1best_recog of a run, scored in place against the text of --data_dir (stages 2 and 3)",
    "ref": "references: lines of 'id text'",
    "hyp": "hypotheses: lines of 'id text'",
    "protocol": "strict (default): every reference counts; speechio: what the published tool scores, strict beside it",
    "profile": "normalize both sides: strict, itn, speechio or funasr2023 (default: not at all; in stage 3 speechio)",
    "out": "text.cer to write (strict); a file of the same name with .json goes beside it",
    "out_dir": "folder of ref.txt, DETAILS.txt, RESULTS.txt, RESULTS.json (speechio)",
    "tokens": "CJK per character and other scripts per word (default), every character, or every word",
    "missing": "a reference without a hypothesis is deletions (default), left out, or an error",
    "detail": "full analysis in the JSON (default), the rate with S, D and I only, or the total only (fastest)",
    "data_dir": "Kaldi data directory whose utt2spk, utt2set, utt2dur are used (default: that of the plan)",
    "utt2spk": "lines of 'id speaker': a table and an interval by speaker",
    "utt2set": "lines of 'id set': a table by test set",
    "utt2dur": "lines of 'id seconds': a table by duration",
    "hotwords": "file (one a line), or the words: their recall and precision",
    "jsonl": "write one JSON object per utterance, with its alignment",
    "trn_dir": "write ref.trn and hyp.trn for sclite here",
    "plan": "plan.json of the run: its model, options and code are recorded in the JSON",
    "digest": "refuse any plan but this one",
}
ONLY_STRICT = ("tokens", "missing")
ONLY_WITH_SPLIT = ("out", "utt2spk", "utt2set", "utt2dur", "hotwords", "jsonl", "trn_dir")


def check_options(args: argparse.Namespace) -> None:
    """An option that would do nothing, or that another needs and that is missing, is an error."""
    if args.results:
        _refuse(args, ("ref", "hyp", "out", "out_dir"), "--results")
        if not args.data_dir:
            raise UsageError("--results needs --data_dir, whose text is the reference", where="--data_dir")
    elif not args.ref or not args.hyp:
        raise UsageError("--ref and --hyp, or --results, are needed", where="--ref")
    if args.protocol == "speechio":
        _refuse(args, (*ONLY_STRICT, *ONLY_WITH_SPLIT), "--protocol speechio")
        if not args.out_dir and not args.results:
            raise UsageError("--protocol speechio needs --out_dir", where="--out_dir")
    else:
        _refuse(args, ("out_dir",), "--protocol strict")
    if args.detail == "totals":
        _refuse(args, (*ONLY_WITH_SPLIT, "profile", "results"), "--detail totals")
    if args.data_dir and not Path(args.data_dir).is_dir():
        raise DataError("there is no such folder", where="--data_dir", hint=f"make sure that {args.data_dir} exists")


def _refuse(args: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    """An option that would do nothing is an error, not silence."""
    for name in names:
        if getattr(args, name):
            raise UsageError(f"--{name} does nothing with {mode}", where=f"--{name}", hint="leave out one of the two")
