"""Long audio through a recognizer of utterances: cut, recognize the parts in batches, join what they say.

Two parts that overlap have heard some words twice, and the words at a cut are the least certain. They are joined where
their tokens agree: at the match in the middle of the best alignment of the end of one with the beginning of the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from funrecipe.decode.hypothesis import EMPTY, Hypothesis
from funrecipe.processes import is_out_of_memory, return_free_memory
from funrecipe.recordings.cutting import MAX_OVERLAP_S, Part, cut
from funrecipe.recordings.transcript import Word

TIDY_AFTER_S = 100  # audio, between two times that free memory is given back
TOKENS_PER_S = 10  # most that an overlap is searched for
MATCH, OTHERWISE = 2, -1  # of a token that agrees, and of one that has no counterpart

TileOf = Callable[[int], tuple[tuple[int, ...], int]]
"""By samples of a waveform: its padded shape, and how many of that shape a GPU computes at once."""


class Recognizer(Protocol):
    """What ``PieceRecognizer`` needs from ``decode.recognizer.Recognizer``."""

    sample_rate_hz: int
    max_piece_s: float

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]: ...

    def text_of(self, tokens: Sequence[str]) -> str: ...


class PieceRecognizer:
    """A recognizer that cuts what is longer than its ``max_piece_s`` and halves batches that do not fit in memory.

    Args:
        recognizer: of utterances; one without ``max_piece_s`` is given audio of any length, one without ``tile_of``
            batches of any shape.
        batch_audio_s: most seconds of audio recognized at once, padding counted.
        batch_size: most waveforms, or parts of one.

    Attributes:
        batch_samples: ``batch_audio_s`` in samples, or less, once that did not fit in memory.
        tile_of: that of the recognizer; without one, a batch of any shape has ``batch_size`` rows.
    """

    def __init__(self, recognizer: Recognizer, *, batch_audio_s: float, batch_size: int) -> None:
        self.recognizer, self.sample_rate_hz = recognizer, recognizer.sample_rate_hz
        self.batch_samples, self._batch_size = int(batch_audio_s * recognizer.sample_rate_hz), batch_size
        self._longest = getattr(recognizer, "max_piece_s", math.inf) * recognizer.sample_rate_hz
        tile_of: TileOf | None = getattr(recognizer, "tile_of", None)
        self.tile_of = tile_of or (lambda samples: ((), batch_size))
        self._is_tidy = tile_of is not None  # always reuses the same memory
        self._untidy_samples = 0

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """The hypothesis of every waveform (S,), whatever it is batched with.

        Raises:
            MemoryError: there is no room for a single one.
        """
        if all(len(waveform) <= self._longest for waveform in waveforms):
            return self._within_memory(waveforms)
        short = [number for number, waveform in enumerate(waveforms) if len(waveform) <= self._longest]
        found = self._within_memory([waveforms[number] for number in short]) if short else []
        results = dict(zip(short, found, strict=True))
        for number in range(len(waveforms)):
            if number not in results:
                results[number] = self._transcribe_long(waveforms[number])
        return [results[number] for number in range(len(waveforms))]

    def _within_memory(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Recognize, in halves if memory runs out; later batches then stay smaller."""
        padded, middle = len(waveforms) * max(map(len, waveforms), default=0), len(waveforms) // 2
        if len(waveforms) < 2 or padded <= self.batch_samples:
            try:
                found = list(self.recognizer.transcribe(waveforms))
                self._tidy(padded)
                return found
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # Not in the except clause: here the traceback is gone, and with it the tensors of the call that failed.
            if release := getattr(self.recognizer, "release_memory", None):
                release()
            self.batch_samples = max(1, min(self.batch_samples, padded // 2))
            if len(waveforms) < 2:
                raise MemoryError(reason)
        return self._within_memory(waveforms[:middle]) + self._within_memory(waveforms[middle:])

    def _tidy(self, samples: int) -> None:
        """Give free memory back now and then, so that what is held does not grow with the length of a recording."""
        self._untidy_samples += samples
        if not self._is_tidy and self._untidy_samples > TIDY_AFTER_S * self.sample_rate_hz:
            self._untidy_samples = 0
            return_free_memory()

    def _transcribe_long(self, waveform: np.ndarray) -> Hypothesis:
        pieces = cut(waveform, self.sample_rate_hz, self.recognizer.max_piece_s)
        hypotheses: dict[int, Hypothesis] = {}
        for batch in self.batches([part.end - part.start for part in pieces]):
            found = self._within_memory([waveform[pieces[i].start : pieces[i].end] for i in batch])
            hypotheses.update(zip(batch, found, strict=True))
        ordered = [hypotheses[number] for number in range(len(pieces))]
        return join_hypotheses(pieces, ordered, self.recognizer, self.sample_rate_hz)

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Which of some waveforms to recognize together, by their numbers: those of similar length, longest first."""
        order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        while order:
            count = max(1, min(self._batch_size, self.batch_samples // max(1, lengths[order[0]])))
            yield order[:count]
            order = order[count:]


def join_hypotheses(
    pieces: Sequence[Part], hypotheses: Sequence[Hypothesis], recognizer: Recognizer, sample_rate_hz: int
) -> Hypothesis:
    """One hypothesis of what the pieces of a recording say, times counted from its beginning.

    The score is the sum of those of the pieces, an overlap counted twice. There is one hypothesis only, whatever
    ``nbest`` is.
    """
    if not pieces:
        return EMPTY
    overlaps_s = [piece.overlap / sample_rate_hz for piece in pieces]
    tokens = _joined([hypothesis.tokens for hypothesis in hypotheses], overlaps_s)
    score = math.fsum(hypothesis.score for hypothesis in hypotheses)
    times = None
    if all(hypothesis.timestamp_ms is not None for hypothesis in hypotheses):
        starts_ms = [1000 * piece.start // sample_rate_hz for piece in pieces]
        moved = [
            [[begin + start_ms, end + start_ms] for begin, end in hypothesis.timestamp_ms or ()]
            for hypothesis, start_ms in zip(hypotheses, starts_ms)
        ]
        times = [moved[piece][position] for piece, position in tokens]
    plain = [hypotheses[piece].tokens[position] for piece, position in tokens]
    rich = _rich(hypotheses, overlaps_s)
    text = recognizer.text_of(plain)
    if rich is not None:  # the text has tags, or marks that are no tokens: it is joined as it was written
        words = [hypothesis.text.split() for hypothesis in hypotheses]
        text = " ".join(words[piece][position] for piece, position in _joined(words, overlaps_s))
    is_estimated = any(hypothesis.is_estimated for hypothesis in hypotheses)
    joined = Hypothesis(plain, text, score, times, rich=rich, is_estimated=is_estimated)
    return replace(joined, nbest=[joined]) if hypotheses[0].nbest is not None else joined


def _rich(hypotheses: Sequence[Hypothesis], overlaps_s: Sequence[float]) -> dict[str, str | None] | None:
    """Tags of the piece with the most tokens, with the human-readable text of all pieces."""
    if any(hypothesis.rich is None for hypothesis in hypotheses):
        return None
    texts = [list(str((hypothesis.rich or {}).get("text") or "")) for hypothesis in hypotheses]
    text = "".join(texts[piece][position] for piece, position in _joined(texts, overlaps_s))
    longest: Mapping[str, Any] = max(hypotheses, key=lambda hypothesis: len(hypothesis.tokens)).rich or {}
    return {**longest, "text": text}


def _joined(sequences: Sequence[Sequence[str]], overlaps_s: Sequence[float]) -> list[tuple[int, int]]:
    """(piece, position) of every token of the whole; ``overlaps_s``: with the piece before."""
    joined: list[tuple[int, int]] = []
    for number, (sequence, overlap_s) in enumerate(zip(sequences, overlaps_s)):
        most = math.ceil(overlap_s * TOKENS_PER_S)
        ours = [sequences[piece][position] for piece, position in joined[len(joined) - min(most, len(joined)) :]]
        drop, skip = seam(ours, list(sequence[:most]))
        joined = joined[: len(joined) - drop] + [(number, position) for position in range(skip, len(sequence))]
    return joined


def join_words(before: list[Word], after: list[Word], cut_ms: int) -> tuple[list[Word], list[Word]]:
    """The words of two overlapping pieces without what both have heard.

    They are joined at their :func:`seam`. Where nothing agrees, the words before the cut are those of the first piece
    and the others those of the second.
    """
    reach_ms = round(1000 * MAX_OVERLAP_S / 2)
    tail = next((i for i, word in enumerate(before) if word.end_ms > cut_ms - reach_ms), len(before))
    head = next((i for i, word in enumerate(after) if word.start_ms >= cut_ms + reach_ms), len(after))
    drop, skip = seam([word.text for word in before[tail:]], [word.text for word in after[:head]])
    if skip:
        return before[: len(before) - drop], after[skip:]
    return (
        [word for word in before if word.start_ms + word.end_ms < 2 * cut_ms],
        [word for word in after if word.start_ms + word.end_ms >= 2 * cut_ms],
    )


def seam(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """How many tokens to leave out at the end of ``left`` and at the beginning of ``right``.

    The best alignment of an end of ``left`` with a beginning of ``right``; (0, 0) if none agrees more than it differs.
    """
    rows, columns = len(left), len(right)
    scores = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    scores[0] = OTHERWISE * np.arange(columns + 1)  # an end of left may begin anywhere, right begins at its beginning
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            agrees = MATCH if left[row - 1] == right[column - 1] else OTHERWISE
            scores[row, column] = max(
                scores[row - 1, column - 1] + agrees,
                scores[row - 1, column] + OTHERWISE,
                scores[row, column - 1] + OTHERWISE,
            )
    end = int(scores[rows].argmax())
    if scores[rows, end] <= 0:
        return 0, 0
    matches = _matches(scores, left, right, end)
    row, column = matches[len(matches) // 2]
    return rows - row, column


def _matches(scores: np.ndarray, left: Sequence[str], right: Sequence[str], column: int) -> list[tuple[int, int]]:
    """(tokens of left, tokens of right) up to and with each agreement of the best alignment, last first."""
    row, matches = len(left), []
    while row and column:
        agrees = left[row - 1] == right[column - 1]
        if scores[row, column] == scores[row - 1, column - 1] + (MATCH if agrees else OTHERWISE):
            if agrees:
                matches.append((row, column))
            row, column = row - 1, column - 1
        elif scores[row, column] == scores[row - 1, column] + OTHERWISE:
            row -= 1
        else:
            column -= 1
    return matches
