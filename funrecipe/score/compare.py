"""Two systems on the same references: is one better, and where?"""

from __future__ import annotations

from dataclasses import asdict

from funrecipe.errors import DataError, list_problems
from funrecipe.score.align import SCLITE, edit_ops
from funrecipe.score.intervals import bootstrap_interval, mapsswe, paired_bootstrap
from funrecipe.score.scoring import Scoring

MOST_CHANGED = 20


def compare(first: Scoring, second: Scoring) -> dict[str, object]:
    """Rates, intervals, paired bootstrap, MAPSSWE (with sclite's alignments), utterances that changed most.

    Raises:
        DataError: the references of the two differ.
    """
    if list(first.ids) != list(second.ids) or first.ref_texts != second.ref_texts:
        texts = dict(zip(second.ids, second.ref_texts))
        differing = [i for i, text in zip(first.ids, first.ref_texts) if texts.get(i) != text]
        differing += sorted(set(second.ids) - set(first.ids))
        raise DataError(
            f"the two were scored against different references:\n{list_problems(differing)}",
            hint="compare runs over the same data directory",
        )
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
