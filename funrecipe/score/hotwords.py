"""Recall and precision of listed words: of those spoken, how many were found; of those written, how many were right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from funrecipe.errors import DataError
from funrecipe.score.rates import Scoring, percent
from funrecipe.score.tokenize import tokenize


def read_hotwords(path: Path | str) -> list[str]:
    """One hot word a line; blank lines do not count."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the hot words: {error}", where=str(path)) from None
    words = [" ".join(line.split()) for line in lines]
    return list(dict.fromkeys(word for word in words if word))


def hotword_scores(mixed: Scoring, words: Iterable[str]) -> dict[str, object]:
    """Per word and over all: occurrences in references and hypotheses, hits, recall and precision in percent.

    A hit is an occurrence in the hypothesis of an utterance whose reference
    has at least as many; occurrences are whole tokens of unit ``mixed``.
    """
    refs = [_marked(tokens) for tokens in mixed.refs]
    hyps = [_marked(tokens) for tokens in mixed.hyps]
    per_word = []
    for word in words:
        pattern = _marked(tokenize(word.lower() if mixed.lower_case else word, "mixed"))
        in_refs = [ref.count(pattern) for ref in refs]
        in_hyps = [hyp.count(pattern) for hyp in hyps]
        per_word.append({"word": word, **_rates(sum(in_refs), sum(in_hyps), sum(map(min, in_refs, in_hyps)))})
    totals = (sum(word[key] for word in per_word) for key in ("in_references", "in_hypotheses", "hits"))
    return {**_rates(*totals), "words": per_word}


def _marked(tokens: Sequence[str]) -> str:
    """Tokens with both their ends marked, so that only whole tokens are found."""
    return "".join(f"\x01{token}\x02" for token in tokens)


def _rates(in_references: int, in_hypotheses: int, hits: int) -> dict:
    return {
        "in_references": in_references,
        "in_hypotheses": in_hypotheses,
        "hits": hits,
        "recall": percent(hits, in_references) if in_references else None,
        "precision": percent(hits, in_hypotheses) if in_hypotheses else None,
    }
