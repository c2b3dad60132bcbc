"""The transcript of a recording: words with times, the segments they were heard in, sentences, speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from funrecipe.text.units import is_unspaced

HALF_WIDTH = {"，": ",", "。": ".", "？": "?", "、": ","}
SENTENCE_ENDS = frozenset("。？！.?!")


@dataclass(frozen=True)
class Word:
    """A word, the time it takes in the recording, and the mark after it (empty for none)."""

    text: str
    start_ms: int
    end_ms: int
    mark: str = ""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech that was recognized in one go.

    Attributes:
        start_ms, end_ms: in the recording.
        words: with times in the recording.
        tokens: raw model tokens; score: the search's.
        is_estimated: the times of the words were fitted to them (docs/timestamps.md).
    """

    start_ms: int
    end_ms: int
    words: tuple[Word, ...]
    tokens: tuple[str, ...] = ()
    score: float = 0.0
    is_estimated: bool = False


@dataclass(frozen=True)
class Sentence:
    """Words up to a mark, or of a segment where there is no punctuation; ``speaker`` counts from 0."""

    words: tuple[Word, ...]
    speaker: int | None = None

    @property
    def start_ms(self) -> int:
        return self.words[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.words[-1].end_ms

    @property
    def text(self) -> str:
        return written(self.words)


@dataclass(frozen=True)
class RecordingTranscript:
    """A whole recording.

    Attributes:
        key: its id.
        duration_ms: its length.
        segments: in order of time.
        sentences: in order of time.
        text: the punctuated text; without punctuation the texts of the segments, a space between them.
        has_punctuation: whether a punctuation model was used.
        has_word_times: whether the recognizer gave times; else words are spread evenly over their segments.
    """

    key: str
    duration_ms: int
    segments: tuple[Segment, ...]
    sentences: tuple[Sentence, ...]
    text: str
    has_punctuation: bool = False
    has_word_times: bool = False

    @property
    def words(self) -> list[Word]:
        """All words in order."""
        return [word for segment in self.segments for word in segment.words]


def written(words: Sequence[Word]) -> str:
    """Words as people write them: spaces around words of scripts that have them, marks after their words."""
    text = ""
    for word in words:
        if text and word.text and not (_is_glued(text[-1]) and _is_glued(word.text[0])):
            text += " "
        text += word.text + word.mark
    return text


def _is_glued(character: str) -> bool:
    """Whether no space stands between such characters: Chinese and Japanese, digits, marks of these scripts."""
    return is_unspaced(character) or character.isdigit() or character in HALF_WIDTH
