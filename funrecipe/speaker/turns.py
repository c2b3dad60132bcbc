"""Labeled windows -> turns of speakers -> the speaker of each sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

MIN_TURN_S = 0.7
TOUCHING_S = 1e-4  # turns that overlap by less follow each other


@dataclass(frozen=True)
class Turn:
    """One speaker speaks from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    speaker: int


def turns_of_windows(windows: Sequence[tuple[float, float]], speakers: Sequence[int]) -> list[Turn]:
    """Windows (start, end in seconds) with their speakers -> turns in order of time that do not overlap.

    Overlapping windows of different speakers are cut in the middle of the overlap; a turn shorter than ``MIN_TURN_S``
    gets the speaker of the neighbor nearer in time. Times are rounded to 10 ms.
    """
    pairs = zip(windows, speakers, strict=True)
    turns = join_turns(sorted((Turn(start, end, speaker) for (start, end), speaker in pairs), key=lambda t: t.start_s))
    for i in range(1, len(turns)):
        before, after = turns[i - 1], turns[i]
        if before.end_s > after.start_s + TOUCHING_S:
            middle = (before.end_s + after.start_s) / 2
            turns[i - 1], turns[i] = replace(before, end_s=middle), replace(after, start_s=middle)
    return join_turns(absorb_short_turns(turns)) if len(turns) > 1 else turns


def join_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Join a turn with the one before it where the speaker is the same and no time lies between."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start_s <= joined[-1].end_s:
            joined[-1] = replace(joined[-1], end_s=max(joined[-1].end_s, turn.end_s))
        else:
            joined.append(turn)
    return joined


def absorb_short_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Round the times of two or more turns, and give each short one the speaker of the nearer neighbor.

    The earlier neighbor has it where both are equally near. As in FunASR, one turn after the other is rounded and
    absorbed, so the next one's start is not rounded yet when it is compared.
    """
    turns = list(turns)
    for i, turn in enumerate(turns):
        turns[i] = turn = Turn(round(turn.start_s, 2), round(turn.end_s, 2), turn.speaker)
        if turn.end_s - turn.start_s >= MIN_TURN_S:
            continue
        before_s = turn.start_s - turns[i - 1].end_s if i > 0 else float("inf")
        after_s = turns[i + 1].start_s - turn.end_s if i + 1 < len(turns) else float("inf")
        turns[i] = replace(turn, speaker=turns[i - 1 if before_s <= after_s else i + 1].speaker)
    return turns


def most_time(turns: Sequence[Turn], start_ms: float, end_ms: float) -> int:
    """The speaker with the most time between two times, the earlier one of equals; 0 where nobody speaks."""
    time_ms: dict[int, float] = {}
    for turn in turns:
        overlap_ms = overlap(turn, start_ms, end_ms)
        if overlap_ms > 0:
            time_ms[turn.speaker] = time_ms.get(turn.speaker, 0.0) + overlap_ms
    return max(time_ms, key=time_ms.__getitem__) if time_ms else 0


def as_funasr(turns: Sequence[Turn], start_ms: float, end_ms: float) -> int:
    """FunASR's rule: the turn that makes a speaker the best one counts twice, so the first of two is favored."""
    best, best_ms = 0, 0.0
    for turn in turns:
        overlap_ms = overlap(turn, start_ms, end_ms)
        if overlap_ms > best_ms:
            best, best_ms = turn.speaker, overlap_ms
        if overlap_ms > 0 and turn.speaker == best:
            best_ms += overlap_ms
    return best


def overlap(turn: Turn, start_ms: float, end_ms: float) -> float:
    """Milliseconds that a turn has between two times; not positive: none."""
    return min(end_ms, 1000 * turn.end_s) - max(start_ms, 1000 * turn.start_s)


RULES = {"most_time": most_time, "funasr": as_funasr}
