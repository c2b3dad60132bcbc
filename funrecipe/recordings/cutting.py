"""Long audio -> pieces that a recognizer takes at once, cut by loudness; how long they may be and how they overlap.

Attention grows with the square of the length, and models were trained on utterances of a few seconds. So audio longer
than a limit is cut in pauses, and what is as quiet as the background for longer than a pause is left out: :func:`cut`
has a whole waveform, :class:`QuietCutter` reads a recording in blocks. Where somebody speaks on past the limit, both
cut at the lowest energy with an overlap, which :mod:`funrecipe.recordings.joining` takes out of the texts again. Where
it is cut depends on the audio and the limit alone. The segments of a VAD are in :mod:`funrecipe.recordings.vad_pieces`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from funrecipe.decode.options import DEFAULT_MAX_PIECE_S
from funrecipe.errors import UsageError

MIN_MAX_PIECE_S = 4.0  # of recordings that are cut as they are read
NEVER_S = 1e6  # longer than any recording
FRAME_MS = 10
SMOOTHING_MS = 200
FLOOR_DB = -100.0  # the level of digital silence, so that it has a logarithm
BLOCK_S = 30  # audio whose levels are compared
SPEECH_PERCENTILE, NOISE_PERCENTILE = 90, 5
LOUD_PERCENTILE, LOUD_RANGE_DB = 95, 20.0  # what is this far below that level of the recording is not speech
MIN_RANGE_DB, MAX_RANGE_DB = 15.0, 50.0  # of speech above noise: below, a pause cannot be told; above, it is silence
QUIET_SHARE = 0.25  # of that range, up to which a frame is background
PAUSE_MS = 300  # background this long separates two utterances
MARGIN_MS = 150  # background kept at either end of a piece,
SILENCE_DB = -75.0  # but not digital silence, in which models trained on room noise hear words
SHORTEST_PIECE_S = 1.0  # shorter ones are taken together with a neighbor
LONGEST_PAUSE_INSIDE_S = 1.0
SETTLED_MS = 2000  # what is so long before the end of what was read is judged as it will be later
MAX_OVERLAP_S = 4.0  # and no more than a quarter of a piece


@dataclass(frozen=True)
class Part:
    """Samples ``start`` to ``end``; ``overlap`` of them were in the part before as well (0: it begins in a pause)."""

    start: int
    end: int
    overlap: int = 0


@dataclass(frozen=True)
class Piece:
    """A part of a recording with its samples.

    Attributes:
        start_ms, end_ms: where somebody speaks, in the recording.
        samples: (S,), with a little of what is before and after.
        heard_from_ms: where ``samples`` begin.
        cut_ms: where the piece before was cut, in the middle of what both have heard; None: they do not overlap.
    """

    start_ms: int
    end_ms: int
    samples: np.ndarray
    heard_from_ms: int
    cut_ms: int | None = None


class Cutter(Protocol):
    """What makes pieces of a recording."""

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """Pieces in order, each as soon as it is complete; ``blocks`` are samples (S,) of one recording."""
        ...


class QuietCutter:
    """Pieces of at most ``max_piece_s``, cut as :func:`cut` does but while the recording is read.

    How loud speech is, is known from what was read so far. A recording that is no longer than a piece is one, unless
    it is digital silence.
    """

    def __init__(self, sample_rate_hz: int, max_piece_s: float = DEFAULT_MAX_PIECE_S) -> None:
        if not MIN_MAX_PIECE_S <= max_piece_s < math.inf:
            hint = f"give at least {MIN_MAX_PIECE_S:g} seconds"
            raise UsageError(f"max_piece_s is {max_piece_s:g}", where="--max_piece_s", hint=hint)
        self.rate_hz, self._frame = sample_rate_hz, sample_rate_hz * FRAME_MS // 1000
        self._limit, self._half = _limits(max_piece_s, sample_rate_hz)
        self.max_samples = self._limit * self._frame

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """See :class:`Cutter`. Holds a piece and ``BLOCK_S``."""
        window = self.max_samples + BLOCK_S * self.rate_hz
        held, start, overlap, loud_db = np.zeros(0, np.float32), 0, 0, -np.inf
        for block, is_final in with_end(blocks):
            held = np.concatenate((held, block))
            while len(held) > window or (is_final and len(held)):
                levels_db = levels(held[:window], self._frame)
                loud_db = max(loud_db, _loudness(levels_db))
                if not start and len(held) <= self.max_samples:
                    utterances = [(0, len(levels_db))] if levels_db.max() > FLOOR_DB else []
                else:
                    utterances = _utterances(levels_db, self._limit, loud_db, overlap)
                settled = len(levels_db) - (0 if len(held) <= window else SETTLED_MS // FRAME_MS)
                parts, kept_from, next_overlap = self._settle(levels_db, utterances, settled, overlap)
                for part in parts:
                    yield self._piece(held, start, part)
                held, start, overlap = held[kept_from * self._frame :], start + kept_from * self._frame, next_overlap

    def _settle(
        self, levels_db: np.ndarray, utterances: list[tuple[int, int]], settled: int, overlap: int
    ) -> tuple[list[Part], int, int]:
        """Parts, in frames, that nothing after ``settled`` changes; the frame to go on from, and the overlap there."""
        done = [(first, end) for first, end in utterances if end <= settled]
        kept_from = utterances[len(done)][0] if len(done) < len(utterances) else settled
        if done or kept_from:
            cut_on = (_cut_on(levels_db, *span, self._limit, self._half, 0 if span[0] else overlap) for span in done)
            return [Part(*part) for parts in cut_on for part in parts], kept_from, 0
        lowest = _quietest(levels_db, 0, self._limit, self._half)
        return [Part(0, lowest + self._half, overlap)], lowest - self._half, 2 * self._half

    def _piece(self, held: np.ndarray, start: int, part: Part) -> Piece:
        """``part``, in frames, of samples that begin at ``start``."""

        def ms(sample: int) -> int:
            return round(1000 * sample / self.rate_hz)

        samples = held[part.start * self._frame : part.end * self._frame].copy()
        first = start + part.start * self._frame
        cut_ms = ms(first + self._half * self._frame) if part.overlap else None
        return Piece(ms(first), ms(first + len(samples)), samples, ms(first), cut_ms)

    def cut_piece(self, piece: Piece) -> Iterator[Piece]:
        """A piece that is too long, cut into several without leaving anything out; any other, unchanged."""
        if len(piece.samples) <= self.max_samples:
            yield piece
            return
        offset_ms, levels_db = piece.heard_from_ms, levels(piece.samples, self._frame)
        for start, end, overlap in _cut_on(levels_db, 0, len(levels_db), self._limit, self._half):
            part = self._piece(piece.samples, 0, Part(start, end, overlap))
            start_ms = max(piece.start_ms, offset_ms + part.start_ms)
            end_ms = min(piece.end_ms, offset_ms + part.end_ms)
            cut_ms = None if part.cut_ms is None else offset_ms + part.cut_ms
            yield Piece(start_ms, end_ms, part.samples, offset_ms + part.heard_from_ms, cut_ms)


def with_end(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each block, and at the end an empty one that says so."""
    for block in blocks:
        yield block, False
    yield np.zeros(0, np.float32), True


def cut(waveform: np.ndarray, sample_rate_hz: int, max_piece_s: float) -> list[Part]:
    """The pieces of a waveform (S,), in order; one alone where it is not longer than ``max_piece_s``.

    None is longer than ``max_piece_s`` seconds (which is more than 0). What no piece covers is as quiet as the
    background around it; a recording without any speech has no piece.
    """
    samples = len(waveform)
    if samples <= int(max_piece_s * sample_rate_hz):
        return [Part(0, samples)]
    frame = sample_rate_hz * FRAME_MS // 1000
    levels_db = levels(waveform, frame)
    limit, half = _limits(max_piece_s, sample_rate_hz)
    return [
        Part(start * frame, min(samples, end * frame), overlap * frame)
        for first, last in _utterances(levels_db, limit, _loudness(levels_db))
        for start, end, overlap in _cut_on(levels_db, first, last, limit, half)
    ]


def levels(waveform: np.ndarray, frame: int) -> np.ndarray:
    """Mean square of every frame of ``frame`` samples, smoothed, in dB (F,); the last frame may be a part."""
    count = -(-len(waveform) // frame)
    power = np.zeros(count)
    whole = len(waveform) // frame
    step = 1 << 12  # frames at once: an hour in double precision would be half a gigabyte
    for first in range(0, whole, step):
        part = waveform[first * frame : min(whole, first + step) * frame].reshape(-1, frame).astype(np.float64)
        power[first : first + len(part)] = np.einsum("fs,fs->f", part, part) / frame
    if whole < count:
        power[whole] = float(np.mean(waveform[whole * frame :].astype(np.float64) ** 2))
    width = SMOOTHING_MS // FRAME_MS
    sums = np.concatenate([[0.0], np.cumsum(np.pad(power, (width // 2, width - width // 2 - 1), mode="edge"))])
    return 10 * np.log10(np.maximum((sums[width:] - sums[:-width]) / width, 10 ** (FLOOR_DB / 10)))


def _loudness(levels_db: np.ndarray) -> float:
    return float(np.percentile(levels_db, LOUD_PERCENTILE))


def background(levels_db: np.ndarray, loud_db: float) -> np.ndarray:
    """Which frames (F,) are as quiet as the background, block by block; ``loud_db``: how loud the recording gets."""
    block = BLOCK_S * 1000 // FRAME_MS
    quiet = levels_db <= (SILENCE_DB if loud_db >= SILENCE_DB + MIN_RANGE_DB else FLOOR_DB)
    for first in range(0, len(levels_db), block):
        # The last block may be short: it is judged together with what is before it.
        judged = levels_db[max(0, min(first, len(levels_db) - block)) : first + block]
        audible = judged[judged > SILENCE_DB]
        judged = audible if len(audible) else judged
        noise, speech = np.percentile(judged, [NOISE_PERCENTILE, SPEECH_PERCENTILE])
        speech = max(speech, loud_db - LOUD_RANGE_DB)
        span = min(speech - noise, MAX_RANGE_DB)
        if span >= MIN_RANGE_DB:
            part = slice(first, first + block)
            quiet[part] |= levels_db[part] <= speech - span * (1 - QUIET_SHARE)
    return quiet


def _utterances(levels_db: np.ndarray, limit: int, loud_db: float, begun: int = 0) -> list[tuple[int, int]]:
    """(first frame, end) of what is between pauses, with margins; short neighbors are taken together.

    begun: frames that an utterance begins with.
    """
    quiet = background(levels_db, loud_db)
    quiet[:begun] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[True], quiet, [True]]).astype(np.int8))).tolist()
    found: list[tuple[int, int]] = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if found and first - found[-1][1] < PAUSE_MS // FRAME_MS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    margin, shortest = MARGIN_MS // FRAME_MS, int(SHORTEST_PIECE_S * 1000 / FRAME_MS)
    longest_pause = int(LONGEST_PAUSE_INSIDE_S * 1000 / FRAME_MS)
    joined: list[tuple[int, int]] = []
    for number, (first, end) in enumerate(found):
        before = found[number - 1][1] if number else -first
        after = found[number + 1][0] if number + 1 < len(found) else 2 * len(levels_db) - end
        audible = levels_db > SILENCE_DB
        first -= _run(audible[:first][::-1], min(margin, (first - before) // 2))
        end += _run(audible[end:], min(margin, (after - end) // 2))
        is_short = joined and min(end - first, joined[-1][1] - joined[-1][0]) < shortest
        if is_short and first - joined[-1][1] <= longest_pause and end - joined[-1][0] <= limit:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def _run(mask: np.ndarray, longest: int) -> int:
    """True values that ``mask`` begins with, at most ``longest``."""
    return int(np.append(mask[:longest], False).argmin())


def _cut_on(
    levels_db: np.ndarray, start: int, end: int, limit: int, half: int, overlap: int = 0
) -> Iterator[tuple[int, int, int]]:
    """Frames ``start`` to ``end`` as pieces of at most ``limit`` frames: (first, end, overlap with the piece before).

    half: frames that two neighbors have in common on either side of the cut.
    """
    while end - start > limit:
        lowest = _quietest(levels_db, start, limit, half)
        yield start, lowest + half, overlap
        start, overlap = lowest - half, 2 * half
    yield start, end, overlap


def _limits(max_piece_s: float, sample_rate_hz: int) -> tuple[int, int]:
    """Frames of the longest piece, and of half an overlap."""
    frame = sample_rate_hz * FRAME_MS // 1000
    half = int(min(MAX_OVERLAP_S, max_piece_s / 4) * 1000 / FRAME_MS) // 2
    return int(max_piece_s * sample_rate_hz) // frame, half


def _quietest(levels_db: np.ndarray, start: int, limit: int, half: int) -> int:
    """The quietest frame of the second half of the ``limit`` frames from ``start``, with room for half an overlap."""
    earliest = start + limit // 2
    return earliest + int(np.argmin(levels_db[earliest : start + limit - half]))
