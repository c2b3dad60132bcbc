"""Where the errors are: by language, speaker, set, length and duration; frequent confusions; the worst utterances.

Each class takes one part of the utterances after the other.
"""

from __future__ import annotations

import heapq
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from funrecipe.score.align import align_tokens
from funrecipe.score.pair_counts import PairCounts
from funrecipe.score.scoring import CHUNK, Edits, Scoring

LENGTH_EDGES_TOKENS = (1, 6, 11, 21, 41, 81)
DURATION_EDGES_S = (2.0, 5.0, 10.0, 20.0, 30.0)
_EDIT = re.compile(b"[SID]")
MOST_FREQUENT = 50
WORST = 50

Json = dict[str, object]
UNKNOWN = -1  # the bucket of what has no value

_NOT_HAN = re.compile("[^\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@cache
def language(token: str) -> str:
    """``zh`` (Han), ``en`` (contains a Latin letter), ``number`` (contains a digit), else ``other``."""
    if not _NOT_HAN.search(token):
        return "zh"
    if any("LATIN" in unicodedata.name(character, "") for character in token):
        return "en"
    return "number" if any(character.isdigit() for character in token) else "other"


def by_language(mixed: Scoring) -> dict[str, Edits]:
    """Counts per language from one joint alignment of ``mixed`` tokens.

    A substitution or deletion belongs to the language of the reference token, an insertion to that of the inserted one,
    so the languages add up to the total. (Scoring each language separately, as WeNet does, would not.)
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    only_zh = np.zeros(len(mixed.ids), dtype=bool)
    for position, (ref, hyp) in enumerate(zip(mixed.refs, mixed.hyps)):
        if isinstance(ref, str) and isinstance(hyp, str) and not _NOT_HAN.search(ref) and not _NOT_HAN.search(hyp):
            only_zh[position] = True  # counted as a whole below: most utterances are like this
            continue
        for op, ref_token, hyp_token in align_tokens(ref, hyp, mixed.ops[position]):
            counts[language(ref_token or hyp_token or "")][op] += 1
    for letter, count in zip("CSID", mixed.counts[only_zh].sum(axis=0).tolist()):
        counts["zh"][letter] += count
    languages = {name: Edits(*(counts[name][letter] for letter in "CSID")) for name in sorted(counts)}
    return {name: edits for name, edits in languages.items() if edits.tokens or edits.errors}


class Groups:
    """Rates of groups of utterances."""

    def __init__(self) -> None:
        self._counts: dict[str | int, np.ndarray] = {}  # utterances, wrong ones, their four counts

    def add(self, scoring: Scoring, names: Iterable[str] | Iterable[int]) -> None:
        """``names`` has the group of each utterance."""
        number_of: dict[str | int, int] = {}
        group = np.fromiter((number_of.setdefault(n, len(number_of)) for n in names), np.int64, len(scoring.ids))
        is_wrong = scoring.counts[:, 1:].any(axis=1)
        columns = [np.ones(len(group)), is_wrong, *scoring.counts.T]
        # Sums of whole numbers: exact in floating point far beyond any list.
        sums = np.stack([np.bincount(group, column, len(number_of)) for column in columns], axis=1).astype(np.int64)
        for name, number in number_of.items():
            self._counts[name] = self._counts.get(name, 0) + sums[number]

    def as_json(self) -> dict[str | int, Json]:
        """In the order of the names."""
        return {
            name: {"utterances": row[0], "wrong_utterances": row[1], **Edits(*row[2:]).as_json()}
            for name, row in sorted((name, counts.tolist()) for name, counts in self._counts.items())
        }


class Buckets:
    """Rates by a value of the utterances that falls between edges."""

    def __init__(self, edges: Sequence[float], unit: str) -> None:
        self._edges, self._unit, self._groups = edges, unit, Groups()

    def add(self, scoring: Scoring, values: np.ndarray) -> None:
        """``values`` (N,), NaN where unknown."""
        bucket_of = np.searchsorted(self._edges, values, side="right")
        self._groups.add(scoring, np.where(np.isnan(values), UNKNOWN, bucket_of).tolist())

    def as_json(self) -> list[Json]:
        return [{**self._bounds(int(bucket)), **rates} for bucket, rates in self._groups.as_json().items()]

    def _bounds(self, bucket: int) -> Json:
        low = self._edges[bucket - 1] if bucket > 0 else 0
        high = self._edges[bucket] if 0 <= bucket < len(self._edges) else None
        name = "unknown" if bucket == UNKNOWN else _bucket_name(low, high, self._unit)
        return {"bucket": name, "low": low, "high": high}


def lengths(scoring: Scoring) -> np.ndarray:
    """Reference tokens of each utterance (N,)."""
    return np.fromiter(map(len, scoring.refs), dtype=np.float64, count=len(scoring.ids))


def durations(scoring: Scoring, durations_s: Mapping[str, float]) -> np.ndarray:
    """Seconds of each utterance (N,), NaN where unknown."""
    return np.fromiter((durations_s.get(i, math.nan) for i in scoring.ids), np.float64, len(scoring.ids))


def _bucket_name(low: float, high: float | None, unit: str) -> str:
    if high is None:
        return f"{low:g} {unit} and more"
    if unit == "tokens":
        return f"{low:g} {unit}" if high == low + 1 else f"{low:g}-{high - 1:g} {unit}"
    return f"{low:g}-{high:g} {unit}"


class Confusions:
    """The most frequent substitutions, insertions and deletions."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()  # of which one at least is longer than a character
        self._inserted: Counter[str] = Counter()
        self._deleted: Counter[str] = Counter()
        self._character_pairs = PairCounts()

    def add(self, scoring: Scoring) -> None:
        in_characters = []
        for position in np.flatnonzero(scoring.counts[:, 1:].any(axis=1)).tolist():
            if isinstance(scoring.refs[position], str) and isinstance(scoring.hyps[position], str):
                in_characters.append(position)
            else:
                self._add_edits(scoring, position)
        for start in range(0, len(in_characters), CHUNK):
            self._add_character_edits(scoring, in_characters[start : start + CHUNK])

    def as_json(self) -> dict[str, list[Json]]:
        return {
            "substitutions": [{"ref": ref, "hyp": hyp, "count": count} for (ref, hyp), count in self._most_confused()],
            "insertions": [{"hyp": token, "count": count} for token, count in _most_frequent(self._inserted)],
            "deletions": [{"ref": token, "count": count} for token, count in _most_frequent(self._deleted)],
        }

    def _most_confused(self) -> list[tuple[tuple[str, str], int]]:
        frequent = Counter(dict(self._character_pairs.most_frequent(MOST_FREQUENT)))
        frequent.update(self._pairs)
        return _most_frequent(frequent)

    def _add_edits(self, scoring: Scoring, position: int) -> None:
        """Count the edits of one utterance."""
        ref, hyp = scoring.refs[position], scoring.hyps[position]
        characters = []
        inserted_before = deleted_before = 0
        for edit in _EDIT.finditer(scoring.ops[position]):
            if edit.group() == b"S":
                pair = ref[edit.start() - inserted_before], hyp[edit.start() - deleted_before]
                if len(pair[0]) == len(pair[1]) == 1:
                    characters.append(ord(pair[0]) << 32 | ord(pair[1]))
                else:
                    self._pairs[pair] += 1
            elif edit.group() == b"I":
                self._inserted[hyp[edit.start() - deleted_before]] += 1
                inserted_before += 1
            else:
                self._deleted[ref[edit.start() - inserted_before]] += 1
                deleted_before += 1
        if characters:
            self._character_pairs.add(np.array(characters, dtype=np.int64))

    def _add_character_edits(self, scoring: Scoring, positions: Sequence[int]) -> None:
        """The same for utterances whose tokens are characters, concatenated: letters and characters stay aligned."""
        ops = np.frombuffer(b"".join(scoring.ops[p] for p in positions), dtype=np.uint8)
        refs = _codes("".join(scoring.refs[p] for p in positions))  # type: ignore[misc]
        hyps = _codes("".join(scoring.hyps[p] for p in positions))  # type: ignore[misc]
        ref_at, hyp_at = np.cumsum(ops != ord("I")) - 1, np.cumsum(ops != ord("D")) - 1
        substituted = ops == ord("S")
        self._character_pairs.add(refs[ref_at[substituted]] << 32 | hyps[hyp_at[substituted]])
        edits = ((self._inserted, hyps[hyp_at[ops == ord("I")]]), (self._deleted, refs[ref_at[ops == ord("D")]]))
        for counter, codes in edits:
            for code, count in zip(*(part.tolist() for part in np.unique(codes, return_counts=True))):
                counter[chr(code)] += count


def _codes(text: str) -> np.ndarray:
    """Code points, int64."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)


def _most_frequent(counter: Counter) -> list:
    # Equal counts in the order of the tokens, so that the list does not depend on the order of the utterances.
    least = min(heapq.nlargest(MOST_FREQUENT, counter.values()), default=0)
    frequent = [item for item in counter.items() if item[1] >= least]
    return sorted(frequent, key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]


class Worst:
    """The utterances with the most errors (among equals, the shorter first)."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, str, list[int]]] = []  # sorted: minus the errors, tokens, id, counts

    def add(self, scoring: Scoring) -> None:
        errors = scoring.counts[:, 1:].sum(axis=1)
        least = max(1, int(np.partition(errors, -WORST)[-WORST])) if len(errors) > WORST else 1
        for p in np.flatnonzero(errors >= least).tolist():
            self._rows.append((-int(errors[p]), len(scoring.refs[p]), scoring.ids[p], scoring.counts[p].tolist()))
        self._rows = sorted(self._rows)[:WORST]

    def as_json(self) -> list[Json]:
        return [{"id": key, **Edits(*counts).as_json()} for _, _, key, counts in self._rows]
