"""Voice activity against a reference, in time: misses, false alarms, and the cost of both.

Source of the cost: NIST, OpenSAT evaluation plan: 0.75 · P(miss) + 0.25 · P(false alarm).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.data.texts import read_texts
from funrecipe.errors import DataError
from funrecipe.score import coverage
from funrecipe.score.rttm import read_rttm

MISS_WEIGHT = 0.75
Segments = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class VadErrors:
    """Times in ms, summed over recordings."""

    speech_ms: int = 0
    silence_ms: int = 0
    missed_ms: int = 0
    false_alarm_ms: int = 0

    def __add__(self, other: VadErrors) -> VadErrors:
        return VadErrors(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def miss_rate(self) -> float:
        """Share of the speech that was not found."""
        return self.missed_ms / self.speech_ms if self.speech_ms else 0.0

    @property
    def false_alarm_rate(self) -> float:
        """Share of the non-speech that was taken for speech."""
        return self.false_alarm_ms / self.silence_ms if self.silence_ms else 0.0

    @property
    def total_ms(self) -> int:
        return self.speech_ms + self.silence_ms

    @property
    def wrong_ms(self) -> int:
        return self.missed_ms + self.false_alarm_ms

    @property
    def frame_error_rate(self) -> float:
        """Share of all time that was classified wrongly."""
        return self.wrong_ms / self.total_ms if self.total_ms else 0.0

    @property
    def cost(self) -> float:
        """NIST's detection cost."""
        return MISS_WEIGHT * self.miss_rate + (1 - MISS_WEIGHT) * self.false_alarm_rate

    def as_json(self) -> dict[str, float]:
        return {
            "speech_s": self.speech_ms / 1000,
            "silence_s": self.silence_ms / 1000,
            "missed_s": self.missed_ms / 1000,
            "false_alarm_s": self.false_alarm_ms / 1000,
            "miss_percent": round(100 * self.miss_rate, 3),
            "false_alarm_percent": round(100 * self.false_alarm_rate, 3),
            "frame_error_percent": round(100 * self.frame_error_rate, 3),
            "detection_cost": round(self.cost, 5),
        }

    def lines(self) -> list[str]:
        """A human-readable summary."""
        return [
            f"miss {100 * self.miss_rate:.2f} % of {self.speech_ms / 1000:.2f} s of speech",
            f"false alarm {100 * self.false_alarm_rate:.2f} % of {self.silence_ms / 1000:.2f} s of silence",
            f"frame error {100 * self.frame_error_rate:.2f} %, detection cost {self.cost:.4f}",
        ]


def score_segments(reference: Segments, found: Segments, duration_ms: int) -> VadErrors:
    """The errors of one recording; what is past ``duration_ms`` does not count."""
    reference, found = (_merged(spans, duration_ms) for spans in (reference, found))
    both_ms = sum(max(0, min(b, d) - max(a, c)) for a, b in reference for c, d in found)
    speech_ms, found_ms = (sum(end - start for start, end in spans) for spans in (reference, found))
    return VadErrors(speech_ms, duration_ms - speech_ms, speech_ms - both_ms, found_ms - both_ms)


def score_recordings(
    references: Mapping[str, Segments],
    found: Mapping[str, Segments],
    durations_ms: Mapping[str, int] | None = None,
    *,
    where: str = "",
) -> dict[str, VadErrors]:
    """The errors of every recording of the reference; all speech of one without results is missed.

    Args:
        durations_ms: lengths; a recording without one ends with the last segment of either side.

    Raises:
        DataError: recordings that only the results have, or no time at all to score.
    """
    hint = "give references of the same recordings; one without speech has the line 'key []' in segments.ref"
    coverage.require_references(references, found, where, hint)
    errors = {}
    for key, reference in references.items():
        hypothesis = found.get(key, ())
        last_ms = max([end for _, end in (*reference, *hypothesis)], default=0)
        errors[key] = score_segments(reference, hypothesis, (durations_ms or {}).get(key, last_ms))
    if not any(of_one.total_ms for of_one in errors.values()):
        what = "neither references nor results have segments, and no length is known: there is no time to score"
        raise DataError(what, where=where, hint="give the lengths of the recordings with reco2dur")
    return errors


def require_results(references: Mapping[str, Segments], hyp: Path | str, found: Mapping[str, Segments]) -> None:
    """Refuse a list of results without lines for all recordings; an RTTM file has none where no speech was found.

    Raises:
        IncompleteRunError: names the first recording without results.
    """
    if not str(hyp).endswith("rttm"):
        hint = "detect them too; a recording without speech has the line 'key []'"
        coverage.require_results(references, found, "recordings", str(hyp), hint)


def read_segments(path: Path | str) -> dict[str, list[tuple[int, int]]]:
    """Segments in ms by recording: an RTTM file (``rttm`` or ``*.rttm``), or lines ``key [[start, end], ...]``.

    Raises:
        DataError: the file cannot be read, a line is not of this form, or a segment ends before it starts.
    """
    if str(path).endswith("rttm"):
        turns = read_rttm(path)
        return {key: [(round(1000 * t.start_s), round(1000 * t.end_s)) for t in ts] for key, ts in turns.items()}
    segments: dict[str, list[tuple[int, int]]] = {}
    for key, value in read_texts(path, may_be_pipe=True).items():
        try:
            found = [(int(start), int(end)) for start, end in json.loads(value or "[]")]
        except (ValueError, TypeError, OverflowError):
            hint = "write: key [[start_ms, end_ms], ...], or name an RTTM file *.rttm"
            raise DataError(f"'{value[:60]}' is not a list of segments", where=f"{path}: {key}", hint=hint) from None
        if wrong := next((span for span in found if not 0 <= span[0] <= span[1]), None):
            what = f"[{wrong[0]}, {wrong[1]}] is not a segment: it ends before it starts, or starts before 0 ms"
            raise DataError(what, where=f"{path}: {key}", hint="write: key [[start_ms, end_ms], ...]")
        segments[key] = found
    return segments


def _merged(spans: Iterable[tuple[int, int]], duration_ms: int) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted((max(0, start), min(end, duration_ms)) for start, end in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > start:
            merged.append((start, end))
    return merged
