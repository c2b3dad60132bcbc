"""What searches and the recognizer return."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenHypothesis:
    """One result of a search.

    Attributes:
        ids: token ids without sos, eos and blank.
        score: log-probability (see the search for what it sums).
        timestamp_ms: ``[start, end]`` per id, or None.
        partial_scores: unweighted scores by scorer, where a beam search keeps them.
    """

    ids: list[int]
    score: float
    timestamp_ms: list[list[int]] | None = None
    partial_scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Hypothesis:
    """One recognized utterance.

    Attributes:
        tokens: raw model tokens, ``@@`` kept.
        text: post-processed words joined by a space.
        score: the search's score; 0 for an empty hypothesis of silence that was too short.
        timestamp_ms: ``[start, end]`` per token, or None.
        nbest: all hypotheses, best first, this one among them; None where only one was asked for.
    """

    tokens: list[str]
    text: str
    score: float
    timestamp_ms: list[list[int]] | None = None
    nbest: list[Hypothesis] | None = None


EMPTY = Hypothesis([], "", 0.0)
