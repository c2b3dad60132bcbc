"""The options of ``funrecipe score``, and which of them go together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError, UsageError

PROTOCOLS = ("strict", "speechio")
DETAILS = ("full", "split", "totals")
BOOLEAN = ("true", "false")
ONLY_STRICT = ("tokens", "missing")
ONLY_WITH_SPLIT = ("out", "utt2spk", "utt2set", "utt2dur", "hotwords", "jsonl", "trn_dir")


def _option(help: str, *, default: str | None = None, choices: Sequence[str] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored and how; the command line is made from the fields.

    Raises:
        UsageError: an option that would have no effect, or that is missing although another needs it.
        DataError: ``data_dir`` is not there.
    """

    results: str | None = _option(
        "1best_recog of a run, scored in place against the text of --data_dir (stages 2 and 3)"
    )
    ref: str | None = _option("references: lines of 'id text'")
    hyp: str | None = _option("hypotheses: lines of 'id text'")
    protocol: str = _option(
        "strict (default): every reference counts; speechio: as the published tool, strict next to it",
        default="strict",
        choices=PROTOCOLS,
    )
    profile: str | None = _option(
        "normalize both sides: strict, itn, speechio or funasr2023 (default: none; in stage 3 speechio)"
    )
    out: str | None = _option("text.cer to write (strict); the same name with .json is written next to it")
    out_dir: str | None = _option("folder of ref.txt, DETAILS.txt, RESULTS.txt, RESULTS.json (speechio)")
    tokens: str | None = _option(
        "CJK per character and other scripts per word (default), every character, or every word",
        choices=("mixed", "char", "word"),
    )
    missing: str | None = _option(
        "a reference without a hypothesis: all deletions (default), left out, or an error",
        choices=("strict", "present", "error"),
    )
    partial_text: str = _option(
        "true (default): leave out results without a text in --data_dir; false: refuse them",
        default="true",
        choices=BOOLEAN,
    )
    detail: str = _option(
        "in the JSON: full: the analysis (default); split: the rate with S, D and I; totals: the total (fastest)",
        default="full",
        choices=DETAILS,
    )
    data_dir: str | None = _option("Kaldi data directory with utt2spk, utt2set, utt2dur (default: that of the plan)")
    utt2spk: str | None = _option("lines of 'id speaker', for a table and an interval by speaker")
    utt2set: str | None = _option("lines of 'id set', for a table by test set")
    utt2dur: str | None = _option("lines of 'id seconds', for a table by duration")
    hotwords: str | None = _option("file (one per line), or the words themselves, for their recall and precision")
    jsonl: str | None = _option("write one JSON object per utterance, with its alignment")
    trn_dir: str | None = _option("write ref.trn and hyp.trn for sclite here")
    plan: str | None = _option("plan.json of the run: its model, options and code are recorded in the JSON")
    digest: str | None = _option("refuse any plan but this one")
    meta: Mapping[str, str] = field(default_factory=dict)  # recorded in the JSON

    def __post_init__(self) -> None:
        if self.results:
            self._refuse(("ref", "hyp", "out", "out_dir"), "--results")
            if not self.data_dir:
                raise UsageError("--results needs --data_dir, whose text is the reference", where="--data_dir")
        elif not self.ref or not self.hyp:
            raise UsageError("--ref and --hyp, or --results, are needed", where="--ref")
        if self.protocol == "speechio":
            self._refuse((*ONLY_STRICT, *ONLY_WITH_SPLIT), "--protocol speechio")
            if not self.out_dir and not self.results:
                raise UsageError("--protocol speechio needs --out_dir", where="--out_dir")
        else:
            self._refuse(("out_dir",), "--protocol strict")
        if self.detail == "totals":
            self._refuse((*ONLY_WITH_SPLIT, "profile", "results"), "--detail totals")
        if self.data_dir and not Path(self.data_dir).is_dir():
            raise DataError("no such folder", where="--data_dir", hint=f"check the path {self.data_dir}")

    def _refuse(self, names: Sequence[str], mode: str) -> None:
        """Raise UsageError for an option that would have no effect."""
        for name in names:
            if getattr(self, name):
                hint = "leave out one of the two"
                raise UsageError(f"--{name} has no effect with {mode}", where=f"--{name}", hint=hint)


OPTIONS = [option for option in fields(ScoreOptions) if option.metadata]


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for every option."""
    for option in OPTIONS:
        row = option.metadata
        parser.add_argument(f"--{option.name}", choices=row["choices"], default=option.default, help=row["help"])
