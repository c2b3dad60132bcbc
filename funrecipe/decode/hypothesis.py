"""What searches and the recognizer return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RichText:
    """The output of a model that also recognizes language, emotion and event.

    Attributes:
        text: words joined by a space, as a text list has them; with tags if requested.
        display: the same, human-readable.
        language, emotion, event: as in the vocabulary (``zh``, ``NEUTRAL``, ``Speech``), None where there is none.
    """

    text: str
    display: str
    language: str | None = None
    emotion: str | None = None
    event: str | None = None

    def as_fields(self) -> dict[str, str | None]:
        """For result files and pipelines: the human-readable text and the tags."""
        return {"text": self.display, "language": self.language, "emotion": self.emotion, "event": self.event}


@dataclass(frozen=True)
class TokenHypothesis:
    """One result of a search.

    Attributes:
        ids: token ids without sos, eos and blank.
        score: log-probability (see the search for what it sums).
        timestamp_ms: ``[start, end]`` per id, or None.
        rich: the text, if the model writes it with tags.
        is_estimated: the times do not rest on the model alone: it found another number of tokens, or too few frames.
    """

    ids: list[int]
    score: float
    timestamp_ms: list[list[int]] | None = None
    rich: RichText | None = None
    is_estimated: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """One recognized utterance.

    Attributes:
        tokens: raw model tokens, ``@@`` kept.
        text: post-processed words joined by a space.
        score: the search's score; 0 for the empty hypothesis of audio that is too short.
        timestamp_ms: ``[start, end]`` per token, or None.
        nbest: all hypotheses, best first, this one among them; None where only one was requested.
        rich: human-readable text, language, emotion and event, by name; None for models without them.
        is_estimated: the times were fitted to the tokens by the rules of docs/timestamps.md.
    """

    tokens: list[str]
    text: str
    score: float
    timestamp_ms: list[list[int]] | None = None
    nbest: list[Hypothesis] | None = None
    rich: dict[str, str | None] | None = None
    is_estimated: bool = False


EMPTY = Hypothesis([], "", 0.0)
