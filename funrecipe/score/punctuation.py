"""Punctuation against a reference: precision, recall and F1 of every mark, at the words that both texts have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from funrecipe.score.coverage import require_references, require_results

MARKS = {
    ",": "，",
    "，": "，",
    ".": "。",
    "。": "。",
    "?": "？",
    "？": "？",
    "、": "、",
    "!": "！",
    "！": "！",
    ";": "；",
    "；": "；",
}
NAMES = {"，": "comma", "。": "period", "？": "question", "、": "enumeration", "！": "exclamation", "；": "semicolon"}
ANY = "any"


@dataclass(frozen=True)
class MarkCounts:
    """How often a mark occurs in both results and reference (``hits``), in the results, and in the reference."""

    hits: int = 0
    found: int = 0
    wanted: int = 0

    def __add__(self, other: MarkCounts) -> MarkCounts:
        return MarkCounts(self.hits + other.hits, self.found + other.found, self.wanted + other.wanted)

    @property
    def precision(self) -> float:
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.wanted if self.wanted else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.found + self.wanted) if self.found + self.wanted else 0.0

    def as_json(self) -> dict[str, float]:
        rates = {name: round(100 * getattr(self, name), 3) for name in ("precision", "recall", "f1")}
        return {"hits": self.hits, "found": self.found, "wanted": self.wanted, **rates}


@dataclass(frozen=True)
class PunctuationScore:
    """Counts by mark, with ``any`` for all together, and how many words could not be compared."""

    marks: dict[str, MarkCounts]
    words: int
    unmatched_words: int

    @property
    def wrong_marks(self) -> int:
        """Marks that are missing, and marks that should not be there."""
        counts = self.marks.get(ANY, MarkCounts())
        return counts.wanted + counts.found - 2 * counts.hits

    def as_json(self) -> dict[str, object]:
        marks = {NAMES.get(mark, mark): counts.as_json() for mark, counts in self.marks.items()}
        return {"marks": marks, "words": self.words, "unmatched_words": self.unmatched_words}

    def lines(self) -> list[str]:
        """A human-readable table."""
        rows = [f"{'mark':<12} {'precision':>9} {'recall':>9} {'F1':>9} {'wanted':>8}"]
        for mark, counts in self.marks.items():
            rates = " ".join(f"{100 * rate:8.2f} %" for rate in (counts.precision, counts.recall, counts.f1))
            rows.append(f"{NAMES.get(mark, mark):<12} {rates} {counts.wanted:>6}")
        if self.unmatched_words:
            rows.append(f"{self.unmatched_words} of {self.words} words of the reference are not in the results")
        return rows


def score_punctuation(
    references: Mapping[str, str], results: Mapping[str, str], *, where: str = ""
) -> PunctuationScore:
    """Compare texts by id. Marks are compared where words are equal, whatever their case; marks after other words of
    the reference are missed, and those after other words of the results are wrong.

    Raises:
        IncompleteRunError: a reference text without a result.
        DataError: a result without a reference.
    """
    require_results(references, results, "texts", where, "punctuate it too, or leave it out of the reference")
    require_references(references, results, where, "give a reference of every text")
    counts: dict[str, MarkCounts] = {}
    words = unmatched = 0

    def count(mark: str, **more: int) -> None:
        for name in (mark, ANY):
            counts[name] = counts.get(name, MarkCounts()) + MarkCounts(**more)

    for key, reference in references.items():
        ours, theirs = split_marks(reference), split_marks(results[key])
        pairs = _matched([word for word, _ in ours], [word for word, _ in theirs])
        words, unmatched = words + len(ours), unmatched + len(ours) - len(pairs)
        for _, mark in ours:
            if mark:
                count(mark, wanted=1)
        for _, mark in theirs:
            if mark:
                count(mark, found=1)
        for i, j in pairs:
            if ours[i][1] and ours[i][1] == theirs[j][1]:
                count(ours[i][1], hits=1)
    order = [mark for mark in [*NAMES, ANY] if mark in counts]
    return PunctuationScore({mark: counts[mark] for mark in order}, words, unmatched)


def split_marks(text: str) -> list[tuple[str, str]]:
    """``今天，ok.`` -> (今, ''), (天, ，), (ok, 。): words in lower case, each with the mark after it, full width."""
    words: list[tuple[str, str]] = []
    for part, mark in cut_at_marks(text):
        words += [(word, "") for run in part.lower().split() for word in re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]", run)]
        if mark and words:
            words[-1] = (words[-1][0], mark)
    return words


def without_marks(text: str) -> str:
    """``text`` with a space for every mark."""
    return " ".join(part for part, _ in cut_at_marks(text)).strip()


def cut_at_marks(text: str) -> list[tuple[str, str]]:
    """``今天，3.5 ok.`` -> (今天, ，), (3.5 ok, 。), ('', ''): what is before each mark, and the mark, full width."""
    parts, start = [], 0
    for i, character in enumerate(text):
        if character in MARKS and not _inside_number(text, i):
            parts.append((text[start:i], MARKS[character]))
            start = i + 1
    return [*parts, (text[start:], "")]


def _inside_number(text: str, i: int) -> bool:
    """Whether a point or comma stands between two digits."""
    return text[i] in ".," and 0 < i < len(text) - 1 and text[i - 1].isdigit() and text[i + 1].isdigit()


def _matched(ours: list[str], theirs: list[str]) -> list[tuple[int, int]]:
    if ours == theirs:
        return [(i, i) for i in range(len(ours))]
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]
