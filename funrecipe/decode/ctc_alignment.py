"""When each token of a CTC model is spoken: forced alignment of known tokens to the frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from funrecipe.models.special_ids import BLANK_ID


def align_tokens(log_probs: np.ndarray, ids: Sequence[int], *, trusts_blank: bool = True) -> np.ndarray:
    """The token id of every frame, blank 0, on the best path that spells ``ids``.

    Viterbi over blank, token, blank, token, ..., blank; a blank between two tokens may be skipped unless they are
    equal. Frames whose best token is blank count as certainly blank, so that tokens stay where they are spoken
    (``funasr.models.sense_voice.utils.ctc_alignment``). Among equal paths the one that stays wins, then the one that
    steps.

    Args:
        log_probs: (T, V) of one utterance.
        ids: at most as many tokens, with a blank between equal neighbors, as there are frames.
        trusts_blank: whether such frames count as blank; otherwise the path is the most probable one.
    """
    frames = len(log_probs)
    if not ids or frames == 0:
        return np.zeros(frames, np.int64)
    labels = np.full(2 * len(ids) + 1, BLANK_ID, np.int64)
    labels[1::2] = ids
    emissions = log_probs[:, labels].astype(np.float64)
    if trusts_blank:
        emissions[log_probs.argmax(axis=1) == BLANK_ID, ::2] = 0.0
    may_skip = np.zeros(len(labels), bool)
    may_skip[3::2] = labels[3::2] != labels[1:-2:2]
    scores = np.full(len(labels), -np.inf)
    scores[:2] = emissions[0, :2]
    moves = np.zeros((frames, len(labels)), np.int8)
    for frame in range(1, frames):
        step = np.concatenate([[-np.inf], scores[:-1]])
        skip = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], scores[:-2]]), -np.inf)
        candidates = np.stack([scores, step, skip])
        moves[frame] = candidates.argmax(axis=0)  # the first of equal ones
        scores = candidates.max(axis=0) + emissions[frame]
    state = len(labels) - 1 if scores[-1] > scores[-2] else len(labels) - 2
    path = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = labels[state]
        state -= int(moves[frame, state])
    return path


def token_spans(path: np.ndarray) -> list[tuple[int, int]]:
    """``(first frame, frame past the last)`` of every run of one token in ``path`` (T,), blanks left out."""
    borders = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    return [(int(a), int(b)) for a, b in zip(borders, borders[1:]) if path[a] != BLANK_ID]


def spans_ms(spans: Sequence[tuple[int, int]], frames: int, frame_ms: int) -> list[list[int]]:
    """``[start, end]`` in ms of spans of frames: half a frame earlier than their numbers say, inside the audio."""
    half = frame_ms // 2
    return [[max(a * frame_ms - half, 0), min(b, frames) * frame_ms - half] for a, b in spans]
