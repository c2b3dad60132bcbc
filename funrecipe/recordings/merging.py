"""Neighboring segments of a VAD taken together, for recognizers that profit from context: FunASR's ``merge_vad``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from funrecipe.errors import UsageError
from funrecipe.recordings.cutting import NEVER_S

DEFAULT_LENGTH_S = 15.0  # FunASR's


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    choices = ("true", "false")
    parser.add_argument("--merge_vad", choices=choices, default="false", help="take neighboring segments together")
    parser.add_argument(
        "--merge_length_s", type=float, help=f"up to so many seconds of a recording (default: {DEFAULT_LENGTH_S:g})"
    )


def chosen_length_s(merge_vad: bool | None, length_s: float | None, *, has_vad: bool) -> float:
    """Up to which length segments are taken together; 0: they are not.

    Args:
        merge_vad, length_s: as in FunASR; None: 15.

    Raises:
        UsageError: options without an effect, or a length that is not positive.
    """
    if merge_vad not in (None, True, False):
        raise UsageError(f"merge_vad is {merge_vad!r}", where="merge_vad", hint="give true or false")
    if merge_vad and not has_vad:
        raise UsageError("merge_vad has no effect without a VAD model", where="merge_vad", hint="give a vad_model")
    if length_s is not None and not merge_vad:
        raise UsageError("merge_length_s has no effect without merge_vad", where="merge_length_s", hint="set merge_vad")
    if length_s is not None and not (isinstance(length_s, (int, float)) and 0 < length_s < NEVER_S):
        raise UsageError(f"merge_length_s is {length_s!r}", where="merge_length_s", hint="give seconds, more than 0")
    return (DEFAULT_LENGTH_S if length_s is None else float(length_s)) if merge_vad else 0.0


@dataclass(frozen=True)
class Span:
    """One or more segments of speech; with what is heard after them it lasts to ``heard_to_ms``."""

    start_ms: int
    end_ms: int
    heard_to_ms: int


class Merger:
    """Takes segments together, in the groups of FunASR's ``merge_vad``.

    A group ends at the last boundary of a segment before ``longest_ms`` from where it began: at 0, or where the group
    before ended. Silence at either end of a group is left out, unlike there. 0 ms: every segment is a group.
    """

    def __init__(self, longest_ms: int) -> None:
        self._longest_ms, self._began_ms, self._boundary_ms = longest_ms, 0, 0
        self._group: Span | None = None

    @property
    def start_ms(self) -> int | None:
        """Where the open group starts, if there is one."""
        return self._group and self._group.start_ms

    def add(self, segment: Span) -> list[Span]:
        """The groups that the next segment ends."""
        ended = self.wait(segment.start_ms)
        self._boundary_ms = segment.start_ms
        ended += self.wait(segment.end_ms)
        self._boundary_ms = segment.end_ms
        self._group = replace(segment, start_ms=self._group.start_ms) if self._group else segment
        return ended if self._longest_ms else [*ended, *self.wait(None)]

    def wait(self, until_ms: int | None) -> list[Span]:
        """The group that ends if there is no boundary before ``until_ms``; None: never."""
        if until_ms is not None and until_ms - self._began_ms < self._longest_ms:
            return []
        ended, self._group = [self._group] if self._group else [], None
        self._began_ms = self._boundary_ms
        return ended
