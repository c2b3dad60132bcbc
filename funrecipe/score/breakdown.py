"""Where the errors are: by language, speaker, set, length and duration; frequent confusions; the worst utterances."""

from __future__ import annotations

import heapq
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

from funrecipe.score.align import align_tokens
from funrecipe.score.scoring import CHUNK, Edits, Scoring, sum_edits

LENGTH_EDGES_TOKENS = (1, 6, 11, 21, 41, 81)
DURATION_EDGES_S = (2.0, 5.0, 10.0, 20.0, 30.0)
_EDIT = re.compile(b"[SID]")
MOST_FREQUENT = 50
WORST = 50

Json = dict[str, object]

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


def by_group(scoring: Scoring, group_of: Callable[[int], str]) -> dict[str, Json]:
    """Rates of groups of utterances; ``group_of`` maps the position of an utterance to the name of its group."""
    rows: dict[str, list[int]] = defaultdict(list)
    for position in range(len(scoring.ids)):
        rows[group_of(position)].append(position)
    return {name: _group_json(scoring, rows[name]) for name in sorted(rows)}


def by_mapping(scoring: Scoring, mapping: Mapping[str, str]) -> dict[str, Json]:
    """Rates by speaker, set …: ``mapping`` is utterance id → name; ids it lacks are grouped as ``(none)``."""
    return by_group(scoring, lambda position: mapping.get(scoring.ids[position], "(none)"))


def by_length(scoring: Scoring) -> list[Json]:
    lengths = np.fromiter(map(len, scoring.refs), dtype=np.float64, count=len(scoring.ids))
    return _by_bucket(scoring, lengths, LENGTH_EDGES_TOKENS, "tokens")


def by_duration(scoring: Scoring, durations_s: Mapping[str, float]) -> list[Json]:
    known = (durations_s.get(i, math.nan) for i in scoring.ids)
    return _by_bucket(scoring, np.fromiter(known, np.float64, len(scoring.ids)), DURATION_EDGES_S, "s")


def _by_bucket(scoring: Scoring, values: np.ndarray, edges: Sequence[float], unit: str) -> list[Json]:
    bucket_of = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
    result = []
    for bucket in np.unique(bucket_of).tolist():
        low = edges[bucket - 1] if bucket > 0 else 0
        high = edges[bucket] if 0 <= bucket < len(edges) else None
        name = "unknown" if bucket < 0 else _bucket_name(low, high, unit)
        rows = np.flatnonzero(bucket_of == bucket)
        result.append({"bucket": name, "low": low, "high": high, **_group_json(scoring, rows)})
    return result


def _bucket_name(low: float, high: float | None, unit: str) -> str:
    if high is None:
        return f"{low:g} {unit} and more"
    if unit == "tokens":
        return f"{low:g} {unit}" if high == low + 1 else f"{low:g}-{high - 1:g} {unit}"
    return f"{low:g}-{high:g} {unit}"


def _group_json(scoring: Scoring, rows: Sequence[int] | np.ndarray) -> Json:
    counts = scoring.counts[rows]
    return {
        "utterances": len(rows),
        "wrong_utterances": int(counts[:, 1:].any(axis=1).sum()),
        **sum_edits(counts).as_json(),
    }


def confusions(scoring: Scoring) -> dict[str, list[Json]]:
    """The most frequent substitutions, insertions and deletions."""
    pairs: Counter[tuple[str, str]] = Counter()
    inserted: Counter[str] = Counter()
    deleted: Counter[str] = Counter()
    wrong = np.flatnonzero(scoring.counts[:, 1:].any(axis=1)).tolist()
    in_characters = []
    for position in wrong:
        if isinstance(scoring.refs[position], str) and isinstance(scoring.hyps[position], str):
            in_characters.append(position)
        else:
            _add_edits(scoring, position, pairs, inserted, deleted)
    for start in range(0, len(in_characters), CHUNK):
        _add_character_edits(scoring, in_characters[start : start + CHUNK], pairs, inserted, deleted)
    return {
        "substitutions": [{"ref": ref, "hyp": hyp, "count": count} for (ref, hyp), count in _most_frequent(pairs)],
        "insertions": [{"hyp": token, "count": count} for token, count in _most_frequent(inserted)],
        "deletions": [{"ref": token, "count": count} for token, count in _most_frequent(deleted)],
    }


def _add_edits(
    scoring: Scoring,
    position: int,
    pairs: Counter[tuple[str, str]],
    inserted: Counter[str],
    deleted: Counter[str],
) -> None:
    """Count the edits of one utterance."""
    ref, hyp = scoring.refs[position], scoring.hyps[position]
    inserted_before = deleted_before = 0
    for edit in _EDIT.finditer(scoring.ops[position]):
        if edit.group() == b"S":
            pairs[ref[edit.start() - inserted_before], hyp[edit.start() - deleted_before]] += 1
        elif edit.group() == b"I":
            inserted[hyp[edit.start() - deleted_before]] += 1
            inserted_before += 1
        else:
            deleted[ref[edit.start() - inserted_before]] += 1
            deleted_before += 1


def _add_character_edits(
    scoring: Scoring,
    positions: Sequence[int],
    pairs: Counter[tuple[str, str]],
    inserted: Counter[str],
    deleted: Counter[str],
) -> None:
    """The same for utterances whose tokens are characters, concatenated: letters and characters stay aligned."""
    ops = np.frombuffer(b"".join(scoring.ops[p] for p in positions), dtype=np.uint8)
    refs = _codes("".join(scoring.refs[p] for p in positions))  # type: ignore[misc]
    hyps = _codes("".join(scoring.hyps[p] for p in positions))  # type: ignore[misc]
    ref_at, hyp_at = np.cumsum(ops != ord("I")) - 1, np.cumsum(ops != ord("D")) - 1
    substituted = ops == ord("S")
    both = refs[ref_at[substituted]] << 32 | hyps[hyp_at[substituted]]
    for code, count in zip(*(part.tolist() for part in np.unique(both, return_counts=True))):
        pairs[chr(code >> 32), chr(code & 0xFFFFFFFF)] += count
    for counter, codes in ((inserted, hyps[hyp_at[ops == ord("I")]]), (deleted, refs[ref_at[ops == ord("D")]])):
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


def worst_utterances(scoring: Scoring) -> list[Json]:
    """The utterances with the most errors (among equals, the shorter first)."""
    errors = scoring.counts[:, 1:].sum(axis=1)
    least = max(1, int(np.partition(errors, -WORST)[-WORST])) if len(errors) > WORST else 1
    candidates = np.flatnonzero(errors >= least).tolist()
    order = sorted(candidates, key=lambda p: (-errors[p], len(scoring.refs[p]), scoring.ids[p]))
    return [{"id": scoring.ids[p], **Edits(*scoring.counts[p].tolist()).as_json()} for p in order[:WORST]]
