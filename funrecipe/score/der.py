"""Diarization error rate: how much of the speaking time is missed, invented or given to the wrong speaker.

Source: NIST, The Rich Transcription 2009 Evaluation Plan. The numbers equal those of pyannote.metrics over the same
parts of a recording. NIST's ``md-eval.pl`` pairs the speakers before it removes the collars, so with a collar its
confusion can be larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from funrecipe.errors import UsageError, count
from funrecipe.score.rttm import SpeakerTurn

COLLAR_S = 0.25


@dataclass(frozen=True)
class DiarizationErrors:
    """Speaking time in seconds, summed over speakers: of the reference, and the three kinds of errors."""

    speech_s: float = 0.0
    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confused_s: float = 0.0

    @property
    def error_s(self) -> float:
        return self.missed_s + self.false_alarm_s + self.confused_s

    @property
    def rate(self) -> float:
        """DER in percent of the reference's speaking time; if that is 0, ``inf``, or ``nan`` without errors."""
        if self.speech_s:
            return 100.0 * self.error_s / self.speech_s
        return math.inf if self.error_s else math.nan

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        return DiarizationErrors(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def as_json(self) -> dict[str, float | None]:
        seconds = {name: round(getattr(self, name), 3) for name in self.__dataclass_fields__}
        return {"rate": round(self.rate, 4) if math.isfinite(self.rate) else None, **seconds}


@dataclass(frozen=True)
class DiarizationScore:
    """The errors of every recording of the reference, and which recordings only one side has (sorted ids)."""

    recordings: dict[str, DiarizationErrors]
    collar_s: float
    ignore_overlap: bool
    missing: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()
    total: DiarizationErrors = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.recordings.values(), DiarizationErrors()))

    def lines(self) -> list[str]:
        """Human-readable: the rate and its parts, what was scored, and which recordings lack a side."""
        total = self.total
        overlap = "left out" if self.ignore_overlap else "scored"
        lines = [
            f"%DER {total.rate:.2f} [ {total.error_s:.2f} / {total.speech_s:.2f} s, {total.missed_s:.2f} missed, "
            f"{total.false_alarm_s:.2f} false alarm, {total.confused_s:.2f} confused ]",
            f"Scored {len(self.recordings)} recordings, collar {self.collar_s:g} s, overlapping speech {overlap}.",
        ]
        if self.missing:
            lines.append(
                f"{count(len(self.missing), 'recording')} without a hypothesis, all missed: {_named(self.missing)}"
            )
        if self.without_reference:
            names = _named(self.without_reference)
            lines.append(f"{count(len(self.without_reference), 'recording')} without a reference, not scored: {names}")
        return lines

    def as_json(self) -> dict[str, object]:
        return {
            **self.total.as_json(),
            "collar_s": self.collar_s,
            "ignore_overlap": self.ignore_overlap,
            "missing": list(self.missing),
            "without_reference": list(self.without_reference),
            "recordings": {name: errors.as_json() for name, errors in sorted(self.recordings.items())},
        }


def score_diarization(
    refs: Mapping[str, Sequence[SpeakerTurn]],
    hyps: Mapping[str, Sequence[SpeakerTurn]],
    *,
    parts: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    collar_s: float = COLLAR_S,
    ignore_overlap: bool = False,
) -> DiarizationScore:
    """Score every recording of the reference; one without a hypothesis is all missed.

    Args:
        parts: what to score of each recording (UEM); a recording that it does not name is not scored. None: all of it,
            from the first to the last turn of either side.
        collar_s: time around each boundary of the reference that is not scored.
        ignore_overlap: leave out where several speakers of the reference speak.

    Raises:
        UsageError: a negative collar, or no recording to score.
    """
    if not 0 <= collar_s < math.inf:
        raise UsageError(f"the collar is {collar_s:g} s", where="collar", hint="give 0 s or more")
    names = sorted(set(refs) if parts is None else set(refs) | set(hyps) & set(parts))
    names = [name for name in names if parts is None or name in parts]
    if not names:
        what = "no recording to score: the UEM names none of the reference recordings"
        raise UsageError(what, where="uem", hint="name the recordings in the UEM as in the reference")
    recordings = {
        name: diarization_errors(
            refs.get(name, ()),
            hyps.get(name, ()),
            parts=None if parts is None else parts[name],
            collar_s=collar_s,
            ignore_overlap=ignore_overlap,
        )
        for name in names
    }
    return DiarizationScore(
        recordings,
        collar_s,
        ignore_overlap,
        tuple(name for name in names if name not in hyps),
        tuple(sorted(set(hyps) - set(names))),
    )


def diarization_errors(
    ref: Sequence[SpeakerTurn],
    hyp: Sequence[SpeakerTurn],
    *,
    parts: Sequence[tuple[float, float]] | None = None,
    collar_s: float = COLLAR_S,
    ignore_overlap: bool = False,
) -> DiarizationErrors:
    """The errors of one recording, with the pairing of speakers that minimizes confusion; arguments as above."""
    times = [time for turn in (*ref, *hyp) for time in (turn.start_s, turn.end_s)]
    if not times:
        return DiarizationErrors()
    scored = [(min(times), max(times))] if parts is None else list(parts)
    collars = [(time - collar_s, time + collar_s) for turn in ref for time in (turn.start_s, turn.end_s)]
    edges = np.unique([*times, *(time for pair in (*scored, *collars) for time in pair)])
    is_ref, is_hyp = (_activity(_by_speaker(turns), edges) for turns in (ref, hyp))
    is_scored = _activity([scored], edges)[0] & ~_activity([collars], edges)[0]
    if ignore_overlap:
        is_scored &= is_ref.sum(axis=0) < 2
    lengths_s = np.diff(edges) * is_scored
    n_ref, n_hyp = is_ref.sum(axis=0), is_hyp.sum(axis=0)
    together_s = (is_ref * lengths_s) @ is_hyp.T.astype(float)
    return DiarizationErrors(
        speech_s=float(n_ref @ lengths_s),
        missed_s=float(np.maximum(n_ref - n_hyp, 0) @ lengths_s),
        false_alarm_s=float(np.maximum(n_hyp - n_ref, 0) @ lengths_s),
        confused_s=max(0.0, float(np.minimum(n_ref, n_hyp) @ lengths_s) - _best_pairing(together_s)),
    )


def _by_speaker(turns: Sequence[SpeakerTurn]) -> list[list[tuple[float, float]]]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for turn in turns:
        spans.setdefault(turn.speaker, []).append((turn.start_s, turn.end_s))
    return list(spans.values())


def _activity(rows: Sequence[Sequence[tuple[float, float]]], edges: np.ndarray) -> np.ndarray:
    """Whether each row of spans covers the time between an edge and the next: bool (rows, edges - 1)."""
    covered = np.zeros((len(rows), max(len(edges) - 1, 0)), bool)
    for row, spans in zip(covered, rows, strict=True):
        for start_s, end_s in spans:
            row[np.searchsorted(edges, start_s) : np.searchsorted(edges, end_s)] = True
    return covered


def _best_pairing(together_s: np.ndarray) -> float:
    """The most time in seconds that pairs of one reference and one hypothesis speaker have together (R, H)."""
    if 1 in together_s.shape or 0 in together_s.shape:  # nothing to choose but the largest
        return float(together_s.max(initial=0.0))
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError:
        raise UsageError(
            "pairing speakers needs scipy, which is not installed", hint="pip install 'funrecipe[speakers]'"
        ) from None
    rows, columns = linear_sum_assignment(together_s, maximize=True)
    return float(together_s[rows, columns].sum())


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
