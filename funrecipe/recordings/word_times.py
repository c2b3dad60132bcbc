"""A recognized piece -> its words with their times in the recording."""

from __future__ import annotations

from collections.abc import Sequence

from funrecipe.recordings.transcript import Word
from funrecipe.text.postprocess import postprocess


def words_of(
    text: str,
    tokens: Sequence[str],
    timestamp_ms: Sequence[Sequence[int]] | None,
    start_ms: int,
    end_ms: int,
) -> list[Word]:
    """The words of ``text`` (separated by spaces), every one inside the piece from ``start_ms`` to ``end_ms``.

    Args:
        tokens: what the text was made of.
        timestamp_ms: ``[start, end]`` of every token, from the start of the piece; None: words are spread evenly.
    """
    words = text.split()
    spans = _spans(words, tokens, timestamp_ms, end_ms - start_ms)
    placed, last_ms = [], start_ms
    for word, (begin_ms, stop_ms) in zip(words, spans, strict=True):
        begin_ms = min(max(start_ms + begin_ms, last_ms), end_ms)
        stop_ms = min(max(start_ms + stop_ms, begin_ms), end_ms)
        placed.append(Word(word, begin_ms, stop_ms))
        last_ms = begin_ms
    return placed


def tokens_between(tokens: Sequence[str], words: Sequence[str], first: int, stop: int) -> tuple[str, ...]:
    """The tokens of ``words[first:stop]``, with what stands before the first word or after the last; all of them where
    ``tokens`` are not those of ``words``."""
    spelled = postprocess(tokens, [[number, number + 1] for number in range(len(tokens))]) if tokens else None
    if spelled is None or spelled.timestamp_ms is None or spelled.words != list(words):
        return tuple(tokens)
    spans = [[0, 0], *spelled.timestamp_ms, [len(tokens), len(tokens)]]
    begin = 0 if first == 0 else spans[first + 1][0]
    return tuple(tokens[begin : len(tokens) if stop == len(words) else spans[stop][1]])


def _spans(
    words: Sequence[str], tokens: Sequence[str], timestamp_ms: Sequence[Sequence[int]] | None, length_ms: int
) -> Sequence[Sequence[int]]:
    if timestamp_ms is not None and tokens:
        try:
            sentence = postprocess(tokens, timestamp_ms)
        except ValueError:  # another number of times than tokens
            sentence = None
        if sentence is not None and sentence.timestamp_ms is not None and sentence.words == list(words):
            return sentence.timestamp_ms
        if timestamp_ms:
            return _by_characters(words, timestamp_ms)
    return _by_characters(words, [[0, length_ms]])


def _by_characters(words: Sequence[str], times_ms: Sequence[Sequence[int]]) -> list[list[int]]:
    """Spread the characters of ``words`` over times that belong to other pieces of the text."""
    total = sum(len(word) for word in words)
    spans, done = [], 0
    for word in words:
        spans.append([_time_at(done / total, times_ms), _time_at((done + len(word)) / total, times_ms)])
        done += len(word)
    return spans


def _time_at(share: float, times_ms: Sequence[Sequence[int]]) -> int:
    """The time after ``share`` of all stretches, counted in stretches."""
    place = share * len(times_ms)
    i = min(int(place), len(times_ms) - 1)
    start_ms, end_ms = times_ms[i]
    return round(start_ms + (place - i) * (end_ms - start_ms))
