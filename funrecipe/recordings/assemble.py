"""Recognized pieces of one recording -> its transcript: offsets, overlaps, punctuation, sentences, speakers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.recordings.joining import join_words
from funrecipe.recordings.piece_list import PieceTimes
from funrecipe.recordings.transcript import HALF_WIDTH, RecordingTranscript, Segment, Sentence, Word, written
from funrecipe.recordings.word_times import tokens_between, words_of
from funrecipe.text.units import is_unspaced

if TYPE_CHECKING:
    from funrecipe.punctuation.punctuator import Punctuated

NO_MARK = "_"
# Sentences ``[start, end]`` in ms of one recording -> the number of the speaker of each.
SpeakersOf = Callable[[Sequence[Sequence[int]]], Sequence[int]]


class Punctuates(Protocol):
    """What is needed of ``punctuation.punctuator.Punctuator``."""

    def punctuate(self, text: str, rules: str) -> Punctuated: ...


class Recognized(NamedTuple):
    """A piece of a recording and what a recognizer heard in it; times of tokens count from where it was heard."""

    piece: PieceTimes
    heard: Hypothesis


def assemble(
    key: str,
    duration_ms: int,
    pieces: Iterable[Recognized],
    *,
    punctuator: Punctuates | None = None,
    text_rules: str = "1.4",
    speakers_of: SpeakersOf | None = None,
) -> RecordingTranscript:
    """The transcript of a recording.

    Args:
        pieces: in order of time; one without words is kept as a segment without words.
        punctuator: adds marks; None: every segment is a sentence.
        text_rules: see docs/punctuation.md.
        speakers_of: says who speaks in sentences.
    """
    pieces = list(pieces)
    segments = _segments(pieces)
    words = [word for segment in segments for word in segment.words]
    text = " ".join(written(segment.words) for segment in segments if segment.words)
    if punctuator is not None and words:
        punctuated = punctuator.punctuate(" ".join(word.text for word in words), text_rules)
        marks = marks_of_words([word.text for word in words], punctuated.words, punctuated.marks)
        is_spaced = not any(is_unspaced(character) for word in words for character in word.text)
        segments = _with_marks(segments, [HALF_WIDTH.get(mark, mark) if is_spaced else mark for mark in marks])
        text = punctuated.text.strip()
    sentences = sentences_of(segments, by_marks=punctuator is not None)
    if speakers_of is not None and sentences:
        speakers = speakers_of([(sentence.start_ms, sentence.end_ms) for sentence in sentences])
        sentences = [replace(sentence, speaker=n) for sentence, n in zip(sentences, speakers, strict=True)]
    return RecordingTranscript(
        key,
        duration_ms,
        tuple(segments),
        tuple(sentences),
        text,
        has_punctuation=punctuator is not None,
        has_word_times=any(heard.timestamp_ms is not None for _, heard in pieces),
    )


def _segments(pieces: Sequence[Recognized]) -> list[Segment]:
    segments: list[Segment] = []
    for piece, heard in pieces:
        tokens, start_ms = tuple(heard.tokens), piece.start_ms
        words = words_of(heard.text, tokens, heard.timestamp_ms, piece.heard_from_ms, piece.heard_to_ms)
        if piece.cut_ms is not None and segments:
            last, all_words = segments[-1], [word.text for word in words]
            before, words = join_words(list(last.words), words, piece.cut_ms)
            start_ms = max([piece.cut_ms, *(word.end_ms for word in before[-1:])])
            kept = tokens_between(last.tokens, [word.text for word in last.words], 0, len(before))
            segments[-1] = replace(last, words=tuple(before), tokens=kept, end_ms=start_ms)
            tokens = tokens_between(tokens, all_words, len(all_words) - len(words), len(all_words))
            words = [replace(w, start_ms=max(w.start_ms, start_ms), end_ms=max(w.end_ms, start_ms)) for w in words]
        end_ms = max(start_ms, piece.end_ms)
        segments.append(Segment(start_ms, end_ms, tuple(words), tokens, heard.score, heard.is_estimated))
    return segments


def marks_of_words(words: Sequence[str], marked: Sequence[str], marks: Sequence[str]) -> list[str]:
    """The mark after each of ``words``, empty for none.

    ``marked`` are the same characters split differently: a punctuation model may know single characters, or words of
    several. A mark inside a word goes to its end.
    """
    after = [""] * len(words)
    word, left = 0, len(words[0]) if words else 0
    for piece, mark in zip(marked, marks, strict=True):
        todo = len(piece)
        while todo and word < len(words):
            taken = min(todo, left)
            todo, left = todo - taken, left - taken
            if mark != NO_MARK and not todo:
                after[word] = mark
            if not left:
                word += 1
                left = len(words[word]) if word < len(words) else 0
    return after


def _with_marks(segments: Sequence[Segment], marks: Sequence[str]) -> list[Segment]:
    rest = iter(marks)
    return [replace(s, words=tuple(replace(word, mark=next(rest)) for word in s.words)) for s in segments]


def sentences_of(segments: Iterable[Segment], *, by_marks: bool) -> list[Sentence]:
    """Sentences: up to each mark, commas too, as FunASR cuts them; or one per segment that has words."""
    if not by_marks:
        return [Sentence(segment.words) for segment in segments if segment.words]
    sentences: list[Sentence] = []
    words: list[Word] = []
    for segment in segments:
        for word in segment.words:
            words.append(word)
            if word.mark:
                sentences.append(Sentence(tuple(words)))
                words = []
    return [*sentences, Sentence(tuple(words))] if words else sentences
