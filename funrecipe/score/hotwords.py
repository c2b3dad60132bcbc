"""Recall and precision of listed words: how many of those spoken were found, how many of those written were right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funrecipe.score.scoring import Scoring, comparable, percent
from funrecipe.score.tokenize import tokenize
from funrecipe.text.normalize import get_profile


class HotwordScores:
    """Per word and over all: occurrences in references and hypotheses, hits, recall and precision in percent.

    A hit is an occurrence in the hypothesis of an utterance whose reference has at least as many; occurrences are whole
    tokens of unit ``mixed``. The words go through the same normalization as the texts.
    """

    def __init__(self, words: Sequence[str], *, normalization: str | None, lower_case: bool) -> None:
        normalize = get_profile(normalization.split(" ")[0]).normalize if normalization else str.strip
        texts = comparable([normalize(word) for word in words], lower_case=lower_case)
        patterns = {word: _marked(tokenize(text, "mixed")) for word, text in zip(words, texts)}
        self._patterns = {word: pattern for word, pattern in patterns.items() if pattern}
        self._counts = {word: [0, 0, 0] for word in self._patterns}

    def add(self, mixed: Scoring) -> None:
        refs = [_marked(tokens) for tokens in mixed.refs]
        hyps = [_marked(tokens) for tokens in mixed.hyps]
        for word, pattern in self._patterns.items():
            in_refs = [ref.count(pattern) for ref in refs]
            in_hyps = [hyp.count(pattern) for hyp in hyps]
            found = (sum(in_refs), sum(in_hyps), sum(map(min, in_refs, in_hyps)))
            self._counts[word] = [count + more for count, more in zip(self._counts[word], found)]

    def as_json(self) -> dict[str, object]:
        per_word = [{"word": word, **_rates(*counts)} for word, counts in self._counts.items()]
        totals = (sum(counts[n] for counts in self._counts.values()) for n in range(3))
        return {**_rates(*totals), "words": per_word}


def hotword_line(scores: Mapping[str, Any]) -> str:
    """``hotwords: recall 80.00 % (4 of 5 spoken), precision 100.00 % (4 of 4 written)``."""
    parts = [
        f"{name} {'–' if scores[name] is None else format(scores[name], '.2f') + ' %'} "
        f"({scores['hits']} of {scores[total]} {verb})"
        for name, total, verb in (("recall", "in_references", "spoken"), ("precision", "in_hypotheses", "written"))
    ]
    return "hotwords: " + ", ".join(parts)


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
