"""Long audio -> pieces that a recognizer takes at once, cut by loudness; how long they may be and how they overlap.

Attention grows with the square of the length, and models were trained on utterances of a few seconds. So audio longer
than a limit is cut. :func:`cut` has a whole waveform: it cuts in pauses and leaves out what is as quiet as the
background for longer than a pause. :class:`QuietCutter` reads a recording in blocks and keeps everything. Where
somebody speaks on past the limit, both cut at the lowest energy with an overlap, which
:mod:`funrecipe.recordings.joining` takes out of the texts again. Where it is cut depends on the audio and the limit
alone. The segments of a VAD are in :mod:`funrecipe.recordings.vad_pieces`.
"""

from __future__ import annotations

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
FLOOR = 1e-10  # mean square of digital silence, so that it has a logarithm
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
    """Pieces of at most ``max_piece_s``, cut where it is quietest in their second half."""

    def __init__(self, sample_rate_hz: int, max_piece_s: float = DEFAULT_MAX_PIECE_S) -> None:
        if not max_piece_s >= MIN_MAX_PIECE_S:
            hint = f"give at least {MIN_MAX_PIECE_S:g} seconds"
            raise UsageError(f"max_piece_s is {max_piece_s:g}", where="--max_piece_s", hint=hint)
        self.rate_hz, self._frame = sample_rate_hz, sample_rate_hz * FRAME_MS // 1000
        self._limit, self._half = _limits(max_piece_s, sample_rate_hz)
        self.max_samples = self._limit * self._frame

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """See :class:`Cutter`."""
        held = np.zeros(0, np.float32)
        start, cut = 0, None  # of ``held`` in the recording; of the last cut
        for block in blocks:
            held = np.concatenate((held, block))
            while len(held) > self.max_samples:
                lowest = _quietest(levels(held[: self.max_samples], self._frame), 0, self._limit, self._half)
                yield self._piece(held[: (lowest + self._half) * self._frame], start, cut)
                cut = start + lowest * self._frame
                kept_from = (lowest - self._half) * self._frame
                start, held = start + kept_from, held[kept_from:]
        if len(held):
            yield self._piece(held, start, cut)

    def _piece(self, samples: np.ndarray, start: int, cut: int | None) -> Piece:
        def ms(sample: int) -> int:
            return round(1000 * sample / self.rate_hz)

        return Piece(ms(start), ms(start + len(samples)), samples, ms(start), None if cut is None else ms(cut))

    def cut_piece(self, piece: Piece) -> Iterator[Piece]:
        """A piece that is too long, cut into several; any other, unchanged."""
        if len(piece.samples) <= self.max_samples:
            yield piece
            return
        offset_ms = piece.heard_from_ms
        for part in self.cut([piece.samples]):
            start_ms = max(piece.start_ms, offset_ms + part.start_ms)
            end_ms = min(piece.end_ms, offset_ms + part.end_ms)
            cut_ms = None if part.cut_ms is None else offset_ms + part.cut_ms
            yield Piece(start_ms, end_ms, part.samples, offset_ms + part.heard_from_ms, cut_ms)


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
        for first, last in _utterances(levels_db, limit)
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
    return 10 * np.log10(np.maximum((sums[width:] - sums[:-width]) / width, FLOOR))


def background(levels_db: np.ndarray) -> np.ndarray:
    """Which frames (F,) are as quiet as the background, block by block."""
    loud = np.percentile(levels_db, LOUD_PERCENTILE)
    block = BLOCK_S * 1000 // FRAME_MS
    quiet = (levels_db <= SILENCE_DB) & (loud >= SILENCE_DB + MIN_RANGE_DB)
    for first in range(0, len(levels_db), block):
        # The last block may be short: it is judged together with what is before it.
        judged = levels_db[max(0, min(first, len(levels_db) - block)) : first + block]
        audible = judged[judged > SILENCE_DB]
        judged = audible if len(audible) else judged
        noise, speech = np.percentile(judged, [NOISE_PERCENTILE, SPEECH_PERCENTILE])
        speech = max(speech, loud - LOUD_RANGE_DB)
        span = min(speech - noise, MAX_RANGE_DB)
        if span >= MIN_RANGE_DB:
            part = slice(first, first + block)
            quiet[part] |= levels_db[part] <= speech - span * (1 - QUIET_SHARE)
    return quiet


def _utterances(levels_db: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """(first frame, end) of what is between pauses, with margins; short neighbors are taken together."""
    quiet = background(levels_db)
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


def _cut_on(levels_db: np.ndarray, start: int, end: int, limit: int, half: int) -> Iterator[tuple[int, int, int]]:
    """Frames ``start`` to ``end`` as pieces of at most ``limit`` frames: (first, end, overlap with the piece before).

    half: frames that two neighbors have in common on either side of the cut.
    """
    overlap = 0
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
