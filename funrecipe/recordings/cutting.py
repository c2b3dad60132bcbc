"""Long audio -> pieces that a recognizer takes at once, without voice activity detection.

Attention grows with the square of the length, and models were trained on utterances of some seconds. So audio longer
than a limit is cut in its pauses, and what is as quiet as the background for longer than a pause is left out. Where
somebody speaks on past the limit it is cut at the lowest energy, with an overlap that
:mod:`funrecipe.recordings.joining` takes out of the texts again. Where it is cut depends on the audio and the limit
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FRAME_MS = 10
SMOOTHING_MS = 200
FLOOR = 1e-10  # mean square of digital silence, so that it has a logarithm
BLOCK_S = 30  # audio whose levels are compared
SPEECH_PERCENTILE, NOISE_PERCENTILE = 90, 5
LOUD_PERCENTILE, LOUD_RANGE_DB = 95, 20.0  # no block takes for speech what is so far below that level of the recording
MIN_RANGE_DB, MAX_RANGE_DB = 15.0, 50.0  # of speech above noise: below, a pause cannot be told; above, it is silence
QUIET_SHARE = 0.25  # of that range, up to which a frame is background
PAUSE_MS = 300  # background for so long parts two utterances
MARGIN_MS = 150  # background kept at either end of a piece,
SILENCE_DB = -75.0  # but not digital silence, in which models that were trained on rooms hear words
SHORTEST_PIECE_S = 1.0  # shorter ones are taken together with a neighbor
LONGEST_PAUSE_INSIDE_S = 1.0
MAX_OVERLAP_S = 4.0


@dataclass(frozen=True)
class Piece:
    """Samples ``start`` to ``end``; ``overlap`` of them were in the piece before as well (0: it begins in a pause)."""

    start: int
    end: int
    overlap: int = 0


def cut(waveform: np.ndarray, sample_rate_hz: int, max_piece_s: float) -> list[Piece]:
    """The pieces of a waveform (S,), in order; one alone where it is not longer than ``max_piece_s``.

    None is longer than ``max_piece_s`` seconds (which is more than 0). What no piece covers is as quiet as the
    background around it; a recording without any speech has no piece.
    """
    samples, limit = len(waveform), int(max_piece_s * sample_rate_hz)
    if samples <= limit:
        return [Piece(0, samples)]
    frame = sample_rate_hz * FRAME_MS // 1000
    levels_db = levels(waveform, frame)
    half = int(min(MAX_OVERLAP_S, max_piece_s / 4) * 1000 / FRAME_MS) // 2
    return [
        Piece(start * frame, min(samples, end * frame), overlap * frame)
        for first, last in _utterances(levels_db, limit // frame)
        for start, end, overlap in _cut_on(levels_db, first, last, limit // frame, half)
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
        earliest = start + limit // 2
        lowest = earliest + int(np.argmin(levels_db[earliest : start + limit - half]))
        yield start, lowest + half, overlap
        start, overlap = lowest - half, 2 * half
    yield start, end, overlap
