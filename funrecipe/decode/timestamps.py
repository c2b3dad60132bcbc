"""From the fine CIF head to the time of each token.

Source of the rules: ``funasr.utils.timestamp_tools.ts_prediction_lfr6_standard`` (0.8.8). The head fires where a token
begins, and once more behind the last one; long tokens are cut and what is left is silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from funrecipe.models.cif import accumulator

FIRE = 1.0 - 1e-4
SHIFT_STEPS = -1.5  # a peak lies this much behind the beginning it stands for (-3 for the stand-alone aligner)
MIN_EDGE_STEPS = 5  # shorter stretches before the first and behind the last token belong to these tokens
MAX_TOKEN_STEPS = 12


class Span(NamedTuple):
    """A token (``token`` is its number) or a silence (None), in seconds."""

    token: int | None
    start_s: float
    end_s: float


def align(
    alphas: Tensor, peaks: Tensor, n_tokens: int, step_s: float, *, offset_ms: float = 0.0, shift: float = SHIFT_STEPS
) -> list[Span]:
    """Tokens and silences in order, exactly one span per token.

    Args:
        alphas, peaks: ``(K,)`` of one utterance.
        n_tokens: number of tokens; when it is not the number of peaks less one, alphas are scaled to fit it.
        step_s: duration of one of the K steps.
        offset_ms: added to every time (start of the piece in a longer recording).
    """
    if n_tokens == 0:
        return []
    begins = [step + shift for step in token_begins(alphas, peaks, n_tokens)]
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
    offset_s = offset_ms / 1000.0
    return [Span(token, begin * step_s + offset_s, end * step_s + offset_s) for token, begin, end in spans]


def token_begins(alphas: Tensor, peaks: Tensor, n_tokens: int) -> Sequence[int]:
    """Steps at which the head fires: ``n_tokens + 1`` of them."""
    fired = (peaks > FIRE).nonzero().flatten()
    if len(fired) != n_tokens + 1:
        scaled = alphas / (alphas.sum() / (n_tokens + 1))
        fired = (accumulator(scaled[None], FIRE, FIRE)[0] > FIRE).nonzero().flatten()
    if len(fired) != n_tokens + 1:
        # More than one token in a single step, which the accumulator cannot say: read the running sum itself
        shares = alphas.double().cumsum(0) / alphas.double().sum()
        wanted = torch.arange(1, n_tokens + 2, dtype=torch.float64, device=alphas.device) * FIRE / (n_tokens + 1)
        fired = torch.searchsorted(shares, wanted).clamp(max=len(alphas) - 1)
    return fired.tolist()


def token_times_ms(spans: Sequence[Span]) -> list[list[int]]:
    """``[start, end]`` of the tokens, silences left out."""
    return [[int(span.start_s * 1000), int(span.end_s * 1000)] for span in spans if span.token is not None]
