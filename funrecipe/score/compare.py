"""Two systems on the same references: is one better, and where?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

import numpy as np

from funrecipe.errors import DataError, list_problems
from funrecipe.score.align import SCLITE, edit_ops
from funrecipe.score.intervals import bootstrap_interval, mapsswe, paired_bootstrap
from funrecipe.score.punctuation import score_punctuation
from funrecipe.score.scoring import Scoring, require_reference_tokens
from funrecipe.score.segments import Segments, score_recordings

MOST_CHANGED = 20


def compare(first: Scoring, second: Scoring) -> dict[str, object]:
    """Rates, intervals, paired bootstrap, MAPSSWE (with sclite's alignments), utterances that changed most.

    Raises:
        DataError: the references of the two differ, or have no token.
    """
    if list(first.ids) != list(second.ids) or first.ref_texts != second.ref_texts:
        texts = dict(zip(second.ids, second.ref_texts))
        differing = [i for i, text in zip(first.ids, first.ref_texts) if texts.get(i) != text]
        differing += sorted(set(second.ids) - set(first.ids))
        raise DataError(
            f"the two were scored against different references:\n{list_problems(differing)}",
            hint="compare runs over the same data directory",
        )
    require_reference_tokens(first.edits.tokens, first.edits.insertions, first.coverage.scored)
    paired = paired_bootstrap(first.counts, second.counts)
    matched = mapsswe(edit_ops(*first.encoded, rule=SCLITE), edit_ops(*second.encoded, rule=SCLITE))
    changes = (second.counts[:, 1:].sum(axis=1) - first.counts[:, 1:].sum(axis=1)).tolist()
    by_change = sorted(range(len(changes)), key=lambda position: (changes[position], first.ids[position]))
    return {
        "first": _system_json(first),
        "second": _system_json(second),
        "paired_bootstrap": asdict(paired),
        "mapsswe": {**asdict(matched), "significant": matched.significant},
        "improved": [{"id": first.ids[p], "change": changes[p]} for p in by_change[:MOST_CHANGED] if changes[p] < 0],
        "worsened": [
            {"id": first.ids[p], "change": changes[p]} for p in by_change[::-1][:MOST_CHANGED] if changes[p] > 0
        ],
    }


def compare_segments(
    references: Mapping[str, Segments], first: Mapping[str, Segments], second: Mapping[str, Segments],
    durations_ms: Mapping[str, int],
) -> str:  # fmt: skip
    """``B - A`` of the frame error of two lists of segments. Raises DataError as ``score_recordings``."""
    ends_ms = {
        key: max((end for side in (references, first, second) for _, end in side.get(key, ())), default=0)
        for key in references
    }
    whole_ms = {**ends_ms, **durations_ms}
    both = zip(*(score_recordings(references, side, whole_ms).values() for side in (first, second)), strict=True)
    return difference_line("frame error", ((a.wrong_ms, b.wrong_ms, b.total_ms) for a, b in both))


def compare_marks(references: Mapping[str, str], first: Mapping[str, str], second: Mapping[str, str]) -> str:
    """``B - A`` of the marks that are wrong, of two lists of texts. Raises as ``score_punctuation``."""
    score_punctuation(references, first)
    both = ([score_punctuation({key: text}, {key: side[key]}) for side in (first, second)]
            for key, text in references.items())  # fmt: skip
    return difference_line("wrong marks per word", ((a.wrong_marks, b.wrong_marks, b.words) for a, b in both))


def difference_line(name: str, rows: Iterable[tuple[int, int, int]]) -> str:
    """``B - A`` of a rate with its interval, in points.

    Args:
        name: of the rate; rows: for each recording or text the errors of A and of B, and what both are a share of.
    """
    first, second, totals = np.array(list(rows), dtype=np.int64).reshape(-1, 3).T
    nothing = np.zeros_like(totals)
    paired = paired_bootstrap(*(np.stack([totals - e, e, nothing, nothing], axis=1) for e in (first, second)))
    difference, low, high = (round(value, 2) + 0.0 for value in (paired.difference, paired.low, paired.high))
    return f"{name}, B - A: {difference:+.2f} points [{low:+.2f}, {high:+.2f}] (95 %, paired bootstrap)"


def _system_json(scoring: Scoring) -> dict[str, object]:
    interval = bootstrap_interval(scoring.counts)
    return {
        **scoring.edits.as_json(),
        "interval": interval.as_json() if interval else None,
        "wrong_utterances": scoring.wrong_utterances,
        "utterances": scoring.coverage.scored,
        "missing": len(scoring.coverage.missing),
        "tokens_are": scoring.unit,
        "normalization": scoring.normalization,
    }
