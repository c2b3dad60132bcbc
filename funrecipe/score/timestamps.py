"""Times of tokens against a reference: mean absolute error of where they start and end.

Tokens of both sides are paired by the alignment of their texts; what has no counterpart has no time to compare, and is
counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.data.texts import read_texts
from funrecipe.errors import DataError
from funrecipe.score.align import TokenEncoder, align_tokens, edit_ops
from funrecipe.score.coverage import require_references, require_results
from funrecipe.score.rttm import TimedToken, read_ctm


@dataclass(frozen=True)
class TimeErrors:
    """Of one recording, or summed over several.

    Attributes:
        matched: tokens that both sides have; start_error_ms, end_error_ms: the sums of their absolute errors.
        unmatched: tokens of the reference without a counterpart; extra: those of the results.
    """

    matched: int = 0
    start_error_ms: float = 0.0
    end_error_ms: float = 0.0
    unmatched: int = 0
    extra: int = 0

    def __add__(self, other: TimeErrors) -> TimeErrors:
        return TimeErrors(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def start_ms(self) -> float:
        """Mean absolute error of starts; 0 where nothing is matched."""
        return self.start_error_ms / self.matched if self.matched else 0.0

    @property
    def end_ms(self) -> float:
        """The same of ends."""
        return self.end_error_ms / self.matched if self.matched else 0.0

    @property
    def mean_ms(self) -> float:
        """The same of all boundaries."""
        return (self.start_ms + self.end_ms) / 2

    def as_json(self) -> dict[str, float | None]:
        errors = {"mean_ms": self.mean_ms, "start_ms": self.start_ms, "end_ms": self.end_ms}
        known = {name: round(value, 3) if self.matched else None for name, value in errors.items()}
        return {**known, "matched": self.matched, "unmatched": self.unmatched, "extra": self.extra}

    def lines(self) -> list[str]:
        """A human-readable summary."""
        tokens = self.matched + self.unmatched
        return [
            f"mean absolute error {self.mean_ms:.1f} ms (starts {self.start_ms:.1f} ms, ends {self.end_ms:.1f} ms)",
            f"{self.matched} of {tokens} tokens compared; {self.unmatched} not in the results, {self.extra} only there",
        ]


def score_timestamps(
    references: Mapping[str, Sequence[TimedToken]], found: Mapping[str, Sequence[TimedToken]], *, where: str = ""
) -> dict[str, TimeErrors]:
    """The errors of every recording of the reference.

    Raises:
        IncompleteRunError: recordings of the reference without results.
        DataError: recordings that only the results have, or no token that both sides have.
    """
    require_results(references, found, "recordings", where, "time them too, or leave them out of the reference")
    require_references(references, found, where, "give a reference of every recording")
    errors = {key: _errors(reference, found[key]) for key, reference in references.items()}
    if not any(of_one.matched for of_one in errors.values()):
        what = "no token of the results is in the reference, so there is no error"
        raise DataError(what, where=where, hint="check that both are cut into the same tokens")
    return errors


def _errors(reference: Sequence[TimedToken], found: Sequence[TimedToken]) -> TimeErrors:
    encoder = TokenEncoder()
    ours, theirs = ("".join(encoder[token.text.lower()] for token in side) for side in (reference, found))
    (letters,) = edit_ops([ours], [theirs])
    wanted, given = iter(reference), iter(found)
    total = TimeErrors()
    for letter, is_wanted, is_given in align_tokens(ours, theirs, letters):
        one = next(wanted) if is_wanted is not None else None
        other = next(given) if is_given is not None else None
        if letter == "C" and one is not None and other is not None:
            total += TimeErrors(1, abs(other.start_ms - one.start_ms), abs(other.end_ms - one.end_ms))
        else:
            total += TimeErrors(unmatched=int(one is not None), extra=int(other is not None))
    return total


def read_timed_tokens(path: Path) -> dict[str, list[TimedToken]]:
    """Tokens with times by recording: a CTM file, or a folder ``1best_recog`` of a run with times.

    Raises:
        DataError: files that cannot be read, or other numbers of times than of tokens and words.
    """
    if not path.is_dir():
        return read_ctm(path)
    sides = {name: read_texts(path / name) for name in ("token", "text", "timestamp")}
    found = {}
    for key, value in sides["timestamp"].items():
        where = f"{path / 'timestamp'}: {key}"
        try:
            times = [(float(start_ms), float(end_ms)) for start_ms, end_ms in json.loads(value, parse_constant=int)]
        except (ValueError, TypeError, OverflowError):  # int refuses NaN and Infinity, which are not JSON
            what = f"'{value[:60]}' is not a list of times"
            raise DataError(
                what, where=where, hint="run stage 1 again, or write: key [[start_ms, end_ms], ...]"
            ) from None
        cut = [sides[name].get(key, "").split() for name in ("token", "text")]
        names = next((names for names in cut if len(names) == len(times)), None)
        if names is None:
            what = f"{len(times)} times for {len(cut[0])} tokens and {len(cut[1])} words"
            raise DataError(what, where=where, hint="run stage 1 again, or give one time for each token")
        found[key] = [TimedToken(name.removesuffix("@@"), *pair) for name, pair in zip(names, times, strict=True)]
    return found
