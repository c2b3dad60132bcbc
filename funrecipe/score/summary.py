"""The machine-readable result: the number, and everything needed to trust or reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funrecipe import __version__
from funrecipe.score import breakdown
from funrecipe.score.align import KALDI
from funrecipe.score.hallucinations import hallucinations
from funrecipe.score.hotwords import HotwordScores, hotword_line
from funrecipe.score.intervals import Draws
from funrecipe.score.scoring import Edits, Scoring, percent
from funrecipe.score.side_information import SideInformation
from funrecipe.score.stream import ScoreSum


def summary_json(scoring: Scoring | ScoreSum, meta: Mapping[str, str]) -> dict[str, Any]:
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


class Analysis:
    """Everything else that one pass over the alignments yields, part by part; keys without data are left out."""

    def __init__(self) -> None:
        self._rates: dict[str, Edits] = {"cer": Edits(), "wer": Edits(), "mer": Edits()}
        self._languages: dict[str, Edits] = {}
        self._draws, self._speaker_draws = Draws(), Draws()
        self._lengths = breakdown.Buckets(breakdown.LENGTH_EDGES_TOKENS, "tokens")
        self._durations = breakdown.Buckets(breakdown.DURATION_EDGES_S, "s")
        self._groups: dict[str, breakdown.Groups] = {}
        self._confusions, self._worst = breakdown.Confusions(), breakdown.Worst()
        self._hallucinations: list[dict[str, object]] = []
        self._hotwords: HotwordScores | None = None
        self._has_durations = False

    def add(self, scoring: Scoring, side: SideInformation) -> None:
        mixed = scoring.in_unit("mixed")
        for name, edits in (
            ("cer", scoring.edits_in("char")),
            ("wer", scoring.edits_in("word")),
            ("mer", mixed.edits),
        ):
            self._rates[name] += edits
        for name, edits in breakdown.by_language(mixed).items():
            self._languages[name] = self._languages.get(name, Edits()) + edits
        self._draws.add(scoring.counts)
        self._lengths.add(scoring, breakdown.lengths(scoring))
        self._confusions.add(scoring)
        self._worst.add(scoring)
        self._hallucinations += hallucinations(scoring)
        for name, group_of in (("speakers", side.speaker_of), ("sets", side.set_of)):
            if group_of is not None:
                groups = self._groups.setdefault(name, breakdown.Groups())
                groups.add(scoring, [group_of.get(i, "(none)") for i in scoring.ids])
        if side.speaker_of is not None:
            self._speaker_draws.add(scoring.counts, [side.speaker_of.get(i, i) for i in scoring.ids])
        if side.durations_s is not None:
            self._durations.add(scoring, breakdown.durations(scoring, side.durations_s))
            self._has_durations = True
        if side.hotwords:
            if self._hotwords is None:
                self._hotwords = HotwordScores(
                    side.hotwords, normalization=mixed.normalization, lower_case=mixed.lower_case
                )
            self._hotwords.add(mixed)

    def as_json(self) -> dict[str, Any]:
        interval = self._draws.interval()
        analysis: dict[str, Any] = {
            "rates": {name: edits.as_json() for name, edits in self._rates.items()},
            "languages": {name: edits.as_json() for name, edits in sorted(self._languages.items())},
            "interval": interval.as_json() if interval else None,
            "lengths": self._lengths.as_json(),
            "confusions": self._confusions.as_json(),
            "worst": self._worst.as_json(),
            "hallucinations": self._hallucinations,
        }
        if "speakers" in self._groups:
            by_speaker = self._speaker_draws.interval()
            analysis["speakers"] = self._groups["speakers"].as_json()
            analysis["interval_by_speaker"] = by_speaker.as_json() if by_speaker else None
        if "sets" in self._groups:
            analysis["sets"] = self._groups["sets"].as_json()
        if self._has_durations:
            analysis["durations"] = self._durations.as_json()
        if self._hotwords is not None:
            analysis["hotwords"] = self._hotwords.as_json()
        return analysis


def analysis_json(scoring: Scoring, side: SideInformation) -> dict[str, Any]:
    """See ``Analysis``."""
    analysis = Analysis()
    analysis.add(scoring, side)
    return analysis.as_json()
