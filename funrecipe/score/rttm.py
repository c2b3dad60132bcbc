"""NIST's RTTM, UEM and CTM files: who speaks when, which parts of a recording are scored, when tokens are spoken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.errors import DataError
from funrecipe.files import write_text

RTTM_FIELDS = 8  # of which the first, second, fourth, fifth and eighth are read; newer files have ten
UEM_FIELDS = 4
CTM_FIELDS = 5  # a confidence and more may follow


@dataclass(frozen=True)
class SpeakerTurn:
    """One speaker speaks from ``start_s`` to ``end_s`` of a recording."""

    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True)
class TimedToken:
    """A token and when it is spoken."""

    text: str
    start_ms: float
    end_ms: float


def read_rttm(path: Path | str) -> dict[str, list[SpeakerTurn]]:
    """Turns by recording id; lines of types other than ``SPEAKER`` and comments (``;``) are skipped.

    Raises:
        DataError: the file cannot be read, a line is not RTTM, or the file has no turns; names file and line.
    """
    turns: dict[str, list[SpeakerTurn]] = {}
    for number, fields in _rows(path):
        if fields[0] != "SPEAKER":
            continue
        if len(fields) < RTTM_FIELDS:
            raise DataError(
                f"a SPEAKER line has {len(fields)} fields, not {RTTM_FIELDS} or more",
                where=f"{path}:{number}",
                hint="write SPEAKER RECORDING 1 START DURATION <NA> <NA> NAME <NA> <NA>",
            )
        start_s, length_s = (_seconds(field, path, number) for field in fields[3:5])
        turns.setdefault(fields[1], []).append(SpeakerTurn(start_s, start_s + length_s, fields[7]))
    if not turns:
        hint = "write SPEAKER RECORDING 1 START DURATION <NA> <NA> NAME <NA> <NA>"
        raise DataError("no SPEAKER line", where=str(path), hint=hint)
    return turns


def read_uem(path: Path | str) -> dict[str, list[tuple[float, float]]]:
    """The parts (start, end in seconds) to score, by recording id.

    Raises:
        DataError: the file cannot be read, or a line is not UEM; names file and line.
    """
    parts: dict[str, list[tuple[float, float]]] = {}
    for number, fields in _rows(path):
        if len(fields) != UEM_FIELDS:
            raise DataError(
                f"a line has {len(fields)} fields, not {UEM_FIELDS}",
                where=f"{path}:{number}",
                hint="write RECORDING 1 START END",
            )
        start_s, end_s = (_seconds(field, path, number) for field in fields[2:4])
        if end_s <= start_s:
            what = f"the part ends at {end_s:g} s, not after {start_s:g} s"
            raise DataError(what, where=f"{path}:{number}", hint="write RECORDING 1 START END")
        parts.setdefault(fields[0], []).append((start_s, end_s))
    return parts


def read_ctm(path: Path | str) -> dict[str, list[TimedToken]]:
    """The tokens of each recording in order of their starts; comments (``;;``) are skipped.

    Raises:
        DataError: the file cannot be read, a line is not CTM, or there are none; names file and line.
    """
    tokens: dict[str, list[TimedToken]] = {}
    for number, fields in _rows(path):
        if len(fields) < CTM_FIELDS:
            raise DataError(
                f"a line has {len(fields)} fields, not {CTM_FIELDS} or more",
                where=f"{path}:{number}",
                hint="write RECORDING 1 START DURATION TOKEN",
            )
        start_s, length_s = (_seconds(field, path, number) for field in fields[2:4])
        token = TimedToken(fields[4], 1000 * start_s, 1000 * (start_s + length_s))
        tokens.setdefault(fields[0], []).append(token)
    if not tokens:
        raise DataError("no line of a CTM", where=str(path), hint="write RECORDING 1 START DURATION TOKEN")
    return {key: sorted(found, key=lambda token: token.start_ms) for key, found in tokens.items()}


def write_rttm(path: Path | str, turns: Mapping[str, Iterable[SpeakerTurn]]) -> None:
    """Publish turns by recording id, recordings in byte order, times in milliseconds. Raises WriteError."""
    write_text(path, (line for recording in sorted(turns) for line in rttm_lines(recording, turns[recording])))


def rttm_lines(recording: str, turns: Iterable[SpeakerTurn]) -> list[str]:
    """The RTTM lines of one recording."""
    return [
        f"SPEAKER {recording} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in turns
    ]


def _rows(path: Path | str) -> list[tuple[int, Sequence[str]]]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start})", where=str(path), hint="convert it to UTF-8") from None
    except OSError as error:
        raise DataError(
            f"cannot read: {error.strerror}", where=str(path), hint="name a file that is there and can be read"
        ) from None
    rows = ((number, line.split()) for number, line in enumerate(lines, start=1))
    return [(number, fields) for number, fields in rows if fields and not fields[0].startswith(";")]


def _seconds(field: str, path: Path | str, number: int) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise DataError(f"'{field}' is not a time in seconds", where=f"{path}:{number}", hint="give 0 or more")
    return value
