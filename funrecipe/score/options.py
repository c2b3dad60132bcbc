"""The options of ``funrecipe score``, and which of them go together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import DataError, UsageError

PROTOCOLS = ("strict", "speechio")
DETAILS = ("full", "split", "totals")
BOOLEAN = ("true", "false")
DEFAULTED = (PROTOCOLS, DETAILS, BOOLEAN)
CHOICES = {
    "protocol": PROTOCOLS,
    "detail": DETAILS,
    "tokens": ("mixed", "char", "word"),
    "missing": ("strict", "present", "error"),
    "partial_text": BOOLEAN,
}
OPTIONS = {
    "results": "1best_recog of a run, scored in place against the text of --data_dir (stages 2 and 3)",
    "ref": "references: lines of 'id text'",
    "hyp": "hypotheses: lines of 'id text'",
    "protocol": "strict (default): every reference counts; speechio: as the published tool, strict next to it",
    "profile": "normalize both sides: strict, itn, speechio or funasr2023 (default: none; in stage 3 speechio)",
    "out": "text.cer to write (strict); the same name with .json is written next to it",
    "out_dir": "folder of ref.txt, DETAILS.txt, RESULTS.txt, RESULTS.json (speechio)",
    "tokens": "CJK per character and other scripts per word (default), every character, or every word",
    "missing": "a reference without a hypothesis: all deletions (default), left out, or an error",
    "partial_text": "results without a text in --data_dir: left out (default), or with false an error",
    "detail": "in the JSON: full: the analysis (default); split: the rate with S, D and I; totals: the total (fastest)",
    "data_dir": "Kaldi data directory with utt2spk, utt2set, utt2dur (default: that of the plan)",
    "utt2spk": "lines of 'id speaker', for a table and an interval by speaker",
    "utt2set": "lines of 'id set', for a table by test set",
    "utt2dur": "lines of 'id seconds', for a table by duration",
    "hotwords": "file (one per line), or the words themselves, for their recall and precision",
    "jsonl": "write one JSON object per utterance, with its alignment",
    "trn_dir": "write ref.trn and hyp.trn for sclite here",
    "plan": "plan.json of the run: its model, options and code are recorded in the JSON",
    "digest": "refuse any plan but this one",
}
ONLY_STRICT = ("tokens", "missing")
ONLY_WITH_SPLIT = ("out", "utt2spk", "utt2set", "utt2dur", "hotwords", "jsonl", "trn_dir")


def check_options(args: argparse.Namespace) -> None:
    """Raise UsageError for an option that would have no effect, or that is missing although another needs it."""
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
        raise DataError("no such folder", where="--data_dir", hint=f"check the path {args.data_dir}")


def _refuse(args: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    """Raise UsageError for an option that would have no effect."""
    for name in names:
        if getattr(args, name):
            raise UsageError(f"--{name} has no effect with {mode}", where=f"--{name}", hint="leave out one of the two")
