"""The machine-readable result: the number, and everything one needs to know to trust or repeat it."""

from __future__ import annotations

from collections.abc import Mapping

from funrecipe import __version__
from funrecipe.score.rates import Scoring, percent


def summary_json(scoring: Scoring, meta: Mapping[str, str]) -> dict[str, object]:
    return {
        "protocol": protocol_json(scoring),
        "coverage": scoring.coverage.as_json(),
        **scoring.edits.as_json(),
        "utterances": scoring.coverage.scored,
        "wrong_utterances": scoring.wrong_utterances,
        "sentence_error_rate": percent(scoring.wrong_utterances, scoring.coverage.scored),
        "funrecipe_version": __version__,
        "meta": dict(meta),
    }


def protocol_json(scoring: Scoring) -> dict[str, object]:
    return {
        "name": "strict" if scoring.missing_policy != "present" else "present",
        "tokens": scoring.unit,
        "missing": scoring.missing_policy,
        "case": "lower",
        "normalization": None,
        "ties": "kaldi (insertion, deletion, substitution)",
    }
