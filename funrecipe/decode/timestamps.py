"""From the fine CIF head, or from CTC, to the times of tokens: always exactly one per token.

Source of the head's rules: ``funasr.utils.timestamp_tools.ts_prediction_lfr6_standard`` (0.8.8). The head fires where a
token begins, and once more past the last one; long tokens are cut and what is left is silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.cif import accumulator
from funrecipe.models.special_ids import BLANK_ID

FIRE = 1.0 - 1e-4
SHIFT_STEPS = -1.5  # a peak comes this long after the beginning that it marks
ALIGNER_SHIFT_STEPS = -3.0  # the same in the stand-alone timestamp predictor
MIN_EDGE_STEPS = 5  # shorter stretches before the first and after the last token belong to these tokens
MAX_TOKEN_STEPS = 12


class Span(NamedTuple):
    """A token (``token`` is its number) or a silence (None), in seconds."""

    token: int | None
    start_s: float
    end_s: float


def align(alphas: Tensor, peaks: Tensor, n_tokens: int, step_s: float, *, shift: float = SHIFT_STEPS) -> list[Span]:
    """Tokens and silences in order, exactly one span per token.

    Args:
        alphas, peaks: (K,) of one utterance.
        n_tokens: number of tokens; when it is not the number of peaks less one, alphas are scaled to fit it.
        step_s: duration of one of the K steps.
    """
    if n_tokens == 0:
        return []
    begins = [max(step + shift, 0.0) for step in token_begins(alphas, peaks, n_tokens)]
    steps = len(peaks)
    spans = [] if begins[0] <= MIN_EDGE_STEPS else [(None, 0.0, begins[0])]
    for token, (begin, end) in enumerate(zip(begins, begins[1:])):
        cut = begin + MAX_TOKEN_STEPS
        spans += [(token, begin, end)] if end <= cut else [(token, begin, cut), (None, cut, end)]
    owner, begin, _ = spans[-1]
    if steps - begins[-1] > MIN_EDGE_STEPS:
        middle = (steps + begins[-1]) * 0.5
        spans[-1:] = [(owner, begin, middle), (None, middle, steps)]
    else:
        spans[-1] = (owner, begin, steps)
    return [Span(token, begin * step_s, end * step_s) for token, begin, end in spans]


def token_begins(alphas: Tensor, peaks: Tensor, n_tokens: int) -> Sequence[int]:
    """Steps at which the head fires: ``n_tokens + 1`` of them; evenly spaced where it never fires."""
    if not alphas.sum() > 0:
        return [len(alphas) * i // (n_tokens + 1) for i in range(n_tokens + 1)]
    fired = (peaks > FIRE).nonzero().flatten()
    if len(fired) != n_tokens + 1:
        scaled = alphas / (alphas.sum() / (n_tokens + 1))
        fired = (accumulator(scaled[None], FIRE, FIRE)[0] > FIRE).nonzero().flatten()
    if len(fired) != n_tokens + 1:
        # More than one token in a single step, which the accumulator cannot express: read the running sum itself
        shares = alphas.double().cumsum(0) / alphas.double().sum()
        wanted = torch.arange(1, n_tokens + 2, dtype=torch.float64, device=alphas.device) * FIRE / (n_tokens + 1)
        fired = torch.searchsorted(shares, wanted).clamp(max=len(alphas) - 1)
    return fired.tolist()


def fires_as_often_as(peaks: Tensor, n_tokens: int) -> bool:
    """Whether the head, ``peaks`` (K,), fires once for every token and once past the last."""
    return int((peaks > FIRE).sum()) == n_tokens + 1


def with_fine_times(
    nbests: Sequence[list[TokenHypothesis]], alphas: Tensor, peaks: Tensor, lens: Tensor, step_s: float
) -> list[list[TokenHypothesis]]:
    """The hypotheses of a batch with the time of every token by the fine head; ``alphas``, ``peaks`` (B, K)."""

    def timed(hyp: TokenHypothesis, row: int, steps: int) -> TokenHypothesis:
        count, its_peaks = len(hyp.ids), peaks[row, :steps]
        times_ms = token_times_ms(align(alphas[row, :steps], its_peaks, count, step_s))
        return replace(hyp, timestamp_ms=times_ms, is_estimated=count > 0 and not fires_as_often_as(its_peaks, count))

    rows = enumerate(zip(nbests, lens.tolist(), strict=True))
    return [[timed(hyp, row, steps) for hyp in nbest] for row, (nbest, steps) in rows]


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


def ctc_spans(log_probs: Tensor, ids: Sequence[int], frame_s: float) -> list[Span] | None:
    """Tokens and silences in order by forced alignment.

    None where the frames cannot spell the tokens: there are fewer of them than tokens and blanks between equal ones.

    Args:
        log_probs: (T, V) of one utterance.
        ids: token ids without blank.
        frame_s: duration of an encoder frame.
    """
    frames, end_s = len(log_probs), len(log_probs) * frame_s
    if len(ids) + sum(a == b for a, b in zip(ids, ids[1:])) > frames:
        return None
    path = align_tokens(log_probs.float().cpu().numpy(), ids)
    found = spans_ms(token_spans(path), frames, round(frame_s * 1000))
    spans: list[Span] = []
    last_s = 0.0
    for token, (start_ms, stop_ms) in enumerate(found):
        if start_ms / 1000 > last_s:
            spans.append(Span(None, last_s, start_ms / 1000))
        last_s = stop_ms / 1000
        spans.append(Span(token, start_ms / 1000, last_s))
    if ids and last_s < end_s:
        spans.append(Span(None, last_s, end_s))
    return spans


def with_ctc_times(
    nbests: Sequence[list[TokenHypothesis]], log_probs: Tensor, lens: Tensor, frame_s: float
) -> list[list[TokenHypothesis]]:
    """The hypotheses of a batch with the time of every token; ``log_probs`` (B, T, V) of the CTC head.

    Where the frames cannot spell the tokens, these are spread evenly over the utterance, and marked as estimated.
    """
    timed = []
    for row, (nbest, length) in enumerate(zip(nbests, lens.tolist(), strict=True)):
        found = [ctc_spans(log_probs[row, :length], hyp.ids, frame_s) for hyp in nbest]
        spans = [s or spread_evenly(len(hyp.ids), length * frame_s) for s, hyp in zip(found, nbest, strict=True)]
        timed.append(
            [
                replace(hyp, timestamp_ms=rounded_times_ms(fitted), is_estimated=aligned is None)
                for aligned, fitted, hyp in zip(found, spans, nbest, strict=True)
            ]
        )
    return timed


def spread_evenly(n_tokens: int, end_s: float) -> list[Span]:
    """``n_tokens`` spans of equal length from 0 to ``end_s``."""
    return [Span(i, end_s * i / n_tokens, end_s * (i + 1) / n_tokens) for i in range(n_tokens)]


def check_ctc_times(model: nn.Module, folder: ModelFolder) -> None:
    """Raise a UsageError unless the model has a CTC head to take times from."""
    if getattr(model, "ctc", None) is None:
        raise UsageError(
            "timestamp is true, but this model has no CTC head to take times from",
            where="--timestamp or decoding.yaml",
            hint=f"leave it out for {folder.path.name}; a BiCif Paraformer gives times without it",
        )


def encoder_frame_ms(folder: ModelFolder, model: nn.Module) -> float:
    """How much audio one frame of the encoder's output covers."""
    embed = getattr(getattr(model, "encoder", None), "embed", None)
    strides = [stride for _, stride, *_ in getattr(embed, "shapes", ())]
    return folder.feature_frame_ms * math.prod(strides)


def rounded_times_ms(spans: Sequence[Span]) -> list[list[int]]:
    """``[start, end]`` of the tokens, silences left out, to the nearest ms."""
    return [[round(span.start_s * 1000), round(span.end_s * 1000)] for span in spans if span.token is not None]


def token_times_ms(spans: Sequence[Span]) -> list[list[int]]:
    """As :func:`rounded_times_ms`, cut to whole ms as FunASR does for the fine head."""
    return [[int(span.start_s * 1000), int(span.end_s * 1000)] for span in spans if span.token is not None]
