"""The machine-readable result: the number, and everything needed to trust or reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funrecipe import __version__
from funrecipe.score import breakdown
from funrecipe.score.align import KALDI
from funrecipe.score.hallucinations import hallucinations
from funrecipe.score.hotwords import hotword_line, hotword_scores
from funrecipe.score.intervals import bootstrap_interval
from funrecipe.score.scoring import Scoring, percent
from funrecipe.score.side_information import SideInformation


def summary_json(scoring: Scoring, meta: Mapping[str, str]) -> dict[str, Any]:
    """Headline, protocol, coverage, versions."""
    return {
        "protocol": {
            "name": "present" if scoring.missing_policy == "present" else "strict",
            "tokens": scoring.unit,
            "missing": scoring.missing_policy,
            "case": "lower" if scoring.lower_case else "as is",
            "unicode": "NFC",
            "normalization": scoring.normalization,
            "ties": f"kaldi: {KALDI.order[:3].decode()}",
        },
        "coverage": scoring.coverage.as_json(),
        **scoring.edits.as_json(),
        "utterances": scoring.coverage.scored,
        "wrong_utterances": scoring.wrong_utterances,
        "sentence_error_rate": percent(scoring.wrong_utterances, scoring.coverage.scored),
        "funrecipe_version": __version__,
        "meta": dict(meta),
    }


def lines_about(summary: Mapping[str, Any]) -> list[str]:
    """Human-readable: how certain the number is, how it was computed, how the hotwords fared."""
    protocol = summary["protocol"]
    lines = [
        f"protocol: {protocol['name']}, tokens {protocol['tokens']}, case {protocol['case']}, "
        f"unicode {protocol['unicode']}, normalization {protocol['normalization'] or 'none'}"
    ]
    if interval := summary.get("analysis", {}).get("interval"):
        bounds = f"{interval['low']:.2f} to {interval['high']:.2f} %"
        lines.insert(0, f"95 % interval: {bounds} (bootstrap over {interval['number_of_blocks']} utterances)")
    if hotwords := summary.get("analysis", {}).get("hotwords"):
        lines.append(hotword_line(hotwords))
    return lines


def analysis_json(scoring: Scoring, side: SideInformation) -> dict[str, Any]:
    """Everything else that one pass over the alignments yields; keys without data are left out."""
    mixed = scoring.in_unit("mixed")
    interval = bootstrap_interval(scoring.counts)
    analysis: dict[str, Any] = {
        "rates": {
            "cer": scoring.edits_in("char").as_json(),
            "wer": scoring.edits_in("word").as_json(),
            "mer": mixed.edits.as_json(),
        },
        "languages": {name: edits.as_json() for name, edits in breakdown.by_language(mixed).items()},
        "interval": interval.as_json() if interval else None,
        "lengths": breakdown.by_length(scoring),
        "confusions": breakdown.confusions(scoring),
        "worst": breakdown.worst_utterances(scoring),
        "hallucinations": list(hallucinations(scoring)),
    }
    if side.speaker_of:
        analysis["speakers"] = breakdown.by_mapping(scoring, side.speaker_of)
        blocks = [side.speaker_of.get(i, i) for i in scoring.ids]
        by_speaker = bootstrap_interval(scoring.counts, blocks=blocks)
        analysis["interval_by_speaker"] = by_speaker.as_json() if by_speaker else None
    if side.set_of:
        analysis["sets"] = breakdown.by_mapping(scoring, side.set_of)
    if side.durations_s:
        analysis["durations"] = breakdown.by_duration(scoring, side.durations_s)
    if side.hotwords:
        analysis["hotwords"] = hotword_scores(mixed, side.hotwords)
    return analysis
