"""From the fine CIF head, or from CTC, to the times of tokens: always exactly one per token.

Source of the head's rules: ``funasr.utils.timestamp_tools.ts_prediction_lfr6_standard`` (0.8.8). The head fires where a
token begins, and once more past the last one; long tokens are cut and what is left is silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from funrecipe.decode.ctc_alignment import align_tokens, spans_ms, token_spans
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.cif import accumulator

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


def align(
    alphas: Tensor, peaks: Tensor, n_tokens: int, step_s: float, *, offset_ms: float = 0.0, shift: float = SHIFT_STEPS
) -> list[Span]:
    """Tokens and silences in order, exactly one span per token.

    Args:
        alphas, peaks: (K,) of one utterance.
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


def with_fine_times(hypothesis: TokenHypothesis, alphas: Tensor, peaks: Tensor, step_s: float) -> TokenHypothesis:
    """A hypothesis with the time of every token by the fine head, ``alphas`` and ``peaks`` (K,) of its utterance."""
    count = len(hypothesis.ids)
    times_ms = token_times_ms(align(alphas, peaks, count, step_s))
    return replace(hypothesis, timestamp_ms=times_ms, is_estimated=count > 0 and not fires_as_often_as(peaks, count))


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


def ctc_log_probs(model: nn.Module, encoder_out: Tensor) -> Tensor:
    """(B, T, V) of the CTC head, after the normalization that some encoders leave to it."""
    own = getattr(model, "ctc_log_probs", None)
    return own(encoder_out) if own else model.ctc.log_probs(encoder_out)


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
