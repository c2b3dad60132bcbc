"""Cut a recording that comes in blocks into pieces that a recognizer can take, and join what it makes of them.

With a VAD, pieces are its segments. Without, and for segments that are too long, a piece ends where it is quietest; it
overlaps the next one, and the words of both are joined where they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Protocol

import numpy as np

from funrecipe.errors import UsageError
from funrecipe.recordings.transcript import Word

DEFAULT_MAX_PIECE_S = 30.0
NEVER_S = 1e6  # no recording is so long
OVERLAP_S = 1.0  # of two pieces that were cut without a pause that a VAD found
QUIET_S = 0.2  # a cut is in the middle of the quietest stretch of this length
FRAME_S = 0.01


@dataclass(frozen=True)
class Piece:
    """A part of a recording.

    Attributes:
        start_ms, end_ms: where somebody speaks, in the recording.
        samples: (S,), with a little of what is before and after.
        heard_from_ms: where ``samples`` begin.
        cut_ms: where the piece before was cut, in the overlap of both; None: they do not overlap.
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
        if not max_piece_s >= 4 * OVERLAP_S:
            hint = f"give at least {4 * OVERLAP_S:g} seconds"
            raise UsageError(f"max_piece_s is {max_piece_s:g}", where="--max_piece_s", hint=hint)
        self.rate_hz = sample_rate_hz
        self.max_samples = round(max_piece_s * sample_rate_hz)
        self.overlap = round(OVERLAP_S * sample_rate_hz)

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """See :class:`Cutter`."""
        held = np.zeros(0, np.float32)
        start, cut = 0, None  # of ``held`` in the recording; of the last cut
        for block in blocks:
            held = np.concatenate((held, block))
            while len(held) > self.max_samples:
                quiet = self._quietest(held[: self.max_samples])
                yield self._piece(held[: quiet + self.overlap // 2], start, cut)
                cut = start + quiet
                kept_from = quiet - self.overlap // 2
                start, held = start + kept_from, held[kept_from:]
        if len(held):
            yield self._piece(held, start, cut)

    def _quietest(self, samples: np.ndarray) -> int:
        """The sample in the second half in the middle of the quietest stretch, with room for the overlap."""
        frame, width = round(FRAME_S * self.rate_hz), round(QUIET_S / FRAME_S)
        first, last = len(samples) // 2, len(samples) - self.overlap
        frames = samples[first : first + (last - first) // frame * frame].reshape(-1, frame)
        energies = np.square(frames, dtype=np.float64).sum(axis=1)
        smooth = np.convolve(energies, np.ones(width), mode="valid")
        return first + (int(smooth.argmin()) + width // 2) * frame

    def _piece(self, samples: np.ndarray, start: int, cut: int | None) -> Piece:
        def ms(sample: int) -> int:
            return round(1000 * sample / self.rate_hz)

        return Piece(ms(start), ms(start + len(samples)), samples, ms(start), None if cut is None else ms(cut))


def cut_piece(piece: Piece, cutter: QuietCutter) -> Iterator[Piece]:
    """A piece that is too long, as several ones; another one as it is."""
    if len(piece.samples) <= cutter.max_samples:
        yield piece
        return
    offset_ms = piece.heard_from_ms
    for part in cutter.cut([piece.samples]):
        start_ms = max(piece.start_ms, offset_ms + part.start_ms)
        end_ms = min(piece.end_ms, offset_ms + part.end_ms)
        cut_ms = None if part.cut_ms is None else offset_ms + part.cut_ms
        yield Piece(start_ms, end_ms, part.samples, offset_ms + part.heard_from_ms, cut_ms)


def join_words(before: list[Word], after: list[Word], cut_ms: int) -> tuple[list[Word], list[Word]]:
    """The words of two overlapping pieces without what both have heard.

    The longest run of words in the overlap on which both agree is kept once. Where they do not agree, the words before
    the cut are those of the first piece and the others those of the second.
    """
    reach_ms = round(1000 * OVERLAP_S)
    tail = next((i for i, word in enumerate(before) if word.end_ms > cut_ms - reach_ms), len(before))
    head = next((i for i, word in enumerate(after) if word.start_ms >= cut_ms + reach_ms), len(after))
    ours, theirs = [word.text for word in before[tail:]], [word.text for word in after[:head]]
    match = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match()
    if match.size:
        return before[: tail + match.a + match.size], after[match.b + match.size :]
    return (
        [word for word in before if word.start_ms + word.end_ms < 2 * cut_ms],
        [word for word in after if word.start_ms + word.end_ms >= 2 * cut_ms],
    )
