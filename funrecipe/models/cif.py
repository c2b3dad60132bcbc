"""Continuous integrate-and-fire (CIF): how many tokens, and one acoustic embedding for each.

Source: Dong & Xu 2020, "CIF: Continuous Integrate-and-Fire for End-to-End Speech Recognition";
``funasr.models.predictor.cif`` (0.8.8). FunASR walks over the frames; here running sums are taken once, in float64, and
the tokens read off them, so a batch decides as each utterance alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.layers import padding_mask

ROUNDING_SLACK = 1e-9  # float64 drift of a running sum must not undo a firing that falls exactly on the threshold


class CifOutput(NamedTuple):
    """What a predictor returns.

    Attributes:
        embeds: (B, U, D) acoustic embeddings, zero past ``token_num``.
        token_num: (B,) float: in inference the floor of the sum of alphas; in training the sum before scaling.
        alphas: (B, T) or (B, T + 1) with the tail frame; scaled to the target length in training.
        peaks: like ``alphas``; the accumulator before each firing was subtracted.
    """

    embeds: Tensor
    token_num: Tensor
    alphas: Tensor
    peaks: Tensor


def firings(alphas: Tensor, threshold: float = 1.0, step: float = 1.0) -> tuple[Tensor, Tensor]:
    """Running sums and firing counts of ``alphas`` (B, T) in float64.

    The accumulator fires when it reaches ``threshold`` and then loses ``step``; it fires at most once a frame.

    Returns:
        sums: (B, T), the cumulative sum.
        fired: (B, T) int64, how often it has fired up to and including each frame.
    """
    sums = alphas.double().cumsum(dim=1)
    with torch.no_grad():
        frames = torch.arange(alphas.size(1), device=alphas.device)
        allowed = torch.floor((sums.detach() - threshold) / step + ROUNDING_SLACK).long() + 1
        # fired[t] = min(fired[t-1] + 1, allowed[t]), and allowed never falls: a running minimum of allowed[t] - t
        fired = (torch.cummin(allowed - frames, dim=1).values + frames).minimum(frames + 1).clamp_(min=0)
    return sums, fired


def accumulator(alphas: Tensor, threshold: float = 1.0, step: float = 1.0) -> Tensor:
    """(B, T): what the accumulator holds at each frame before a firing is subtracted (FunASR: ``fires``)."""
    sums, fired = firings(alphas, threshold, step)
    before = F.pad(fired[:, :-1], (1, 0))
    return (sums - before * step).to(alphas.dtype)


def integrate_and_fire(hidden: Tensor, alphas: Tensor, threshold: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums of ``hidden`` (B, T, D), one per firing of ``alphas`` (B, T). Differentiable.

    A frame that completes token k gives it what is missing to k + 1 and leaves the rest to token k + 1. So all
    tokens up to k together are the weighted sum of the frames up to there less that rest, and token k is a difference.

    Returns:
        ``embeds`` (B, max(fired), D), ``fired`` (B,) int64, ``peaks`` (B, T) as in :func:`accumulator`.
    """
    sums, fired = firings(alphas, threshold)
    peaks = sums - F.pad(fired[:, :-1], (1, 0))
    counts = fired[:, -1]
    tokens = torch.arange(1, int(counts.max()) + 1 if counts.numel() else 1, device=alphas.device)
    # the frame of each firing; past the last one any frame will do, its token is set to zero below
    frames = torch.searchsorted(fired, tokens.repeat(len(fired), 1)).clamp(max=alphas.size(1) - 1)
    exact = hidden.double()
    columns = frames[:, :, None].expand(-1, -1, hidden.size(2))
    rest = (sums - fired).gather(1, frames)[:, :, None] * exact.gather(1, columns)
    up_to = (alphas.double()[:, :, None] * exact).cumsum(dim=1).gather(1, columns) - rest
    embeds = (up_to - F.pad(up_to[:, :-1], (0, 0, 1, 0))) * (tokens <= counts[:, None])[:, :, None]
    return embeds.to(hidden.dtype), counts, peaks.to(alphas.dtype)


class CifPredictorV2(nn.Module):
    """Alphas from a full convolution over the encoder output. Arguments carry the names of ``predictor_conf``.

    ``tail_mask`` (False for streaming models) says whether the tail alpha follows each utterance or the
    padding; both are the same here, because padding never reaches the sum.
    """

    INERT = {"tf2torch_tensor_name_prefix_torch": ..., "tf2torch_tensor_name_prefix_tf": ...}
    depthwise = False

    def __init__(
        self,
        idim: int,
        l_order: int = 1,
        r_order: int = 1,
        threshold: float = 1.0,
        dropout: float = 0.1,
        smooth_factor: float = 1.0,
        noise_threshold: float = 0.0,
        tail_threshold: float = 0.0,
        tail_mask: bool = True,
    ) -> None:
        super().__init__()
        self.orders = (l_order, r_order)
        self.cif_conv1d = nn.Conv1d(idim, idim, l_order + r_order + 1, groups=idim if self.depthwise else 1)
        self.cif_output = nn.Linear(idim, 1)
        self.dropout = nn.Dropout(dropout)
        self.threshold, self.tail_threshold = threshold, tail_threshold
        self.smooth_factor, self.noise_threshold = smooth_factor, noise_threshold

    def convolve(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D): the features that the alphas are read from."""
        return torch.relu(self.cif_conv1d(F.pad(hidden.transpose(1, 2), self.orders))).transpose(1, 2)

    def alphas(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Per-frame alphas (B, T), before tail and scaling; ``mask`` (B, T)."""
        alphas = torch.sigmoid(self.cif_output(self.convolve(hidden))).squeeze(-1)
        alphas = torch.relu(alphas * self.smooth_factor - self.noise_threshold)
        return alphas if mask is None else alphas * mask

    def forward(
        self,
        hidden: Tensor,
        hidden_lens: Tensor,
        target_lens: Tensor | None = None,
        chunk_mask: Tensor | None = None,
    ) -> CifOutput:
        """Predict tokens from ``hidden`` (B, T, D), which must be zero past ``hidden_lens`` (B,).

        Args:
            target_lens: (B,) in training: alphas are scaled to sum to it, and exactly that many tokens come out
                (as long as no alpha exceeds 1). None in inference: the tail alpha is added.
            chunk_mask: (B, T), further frames that do not count (overlapping chunks).
        """
        mask = padding_mask(hidden_lens, hidden.size(1))
        alphas = self.alphas(hidden, mask)
        if chunk_mask is not None:
            alphas = alphas * chunk_mask
        if target_lens is not None:
            token_num = alphas.sum(dim=1)
            # float64 from the sum on: float32 rounding would decide the last firing at random
            exact = alphas.double()
            exact = exact * (target_lens.double() / exact.sum(dim=1))[:, None]
            embeds, _, peaks = integrate_and_fire(hidden, exact, self.threshold)
            embeds = pad_tokens(embeds, int(target_lens.max()))
            return CifOutput(embeds, token_num, exact.to(alphas.dtype), peaks.to(alphas.dtype))
        if self.tail_threshold > 0.0:
            hidden, alphas = self.add_tail(hidden, alphas, hidden_lens)
        token_num = alphas.double().sum(dim=1)
        if self.tail_threshold > 0.0:
            token_num = torch.floor(token_num + ROUNDING_SLACK)
        embeds, _, peaks = integrate_and_fire(hidden, alphas, self.threshold)
        embeds = pad_tokens(embeds, int(token_num.max().round()))
        return CifOutput(embeds, token_num.to(alphas.dtype), alphas, peaks)

    def add_tail(self, hidden: Tensor, alphas: Tensor, hidden_lens: Tensor) -> tuple[Tensor, Tensor]:
        """One more zero frame, and ``tail_threshold`` at the first frame past each utterance."""
        alphas = F.pad(alphas, (0, 1))
        tail = torch.full_like(alphas[:, :1], self.tail_threshold)
        return F.pad(hidden, (0, 0, 0, 1)), alphas.scatter_add(1, hidden_lens[:, None].long(), tail)


class CifPredictor(CifPredictorV2):
    """First version: depthwise convolution with a residual and dropout before the ReLU."""

    depthwise = True

    def convolve(self, hidden: Tensor) -> Tensor:
        context = hidden.transpose(1, 2)
        return torch.relu(self.dropout(self.cif_conv1d(F.pad(context, self.orders)) + context)).transpose(1, 2)


def pad_tokens(embeds: Tensor, tokens: int) -> Tensor:
    """Cut or zero-pad (B, U, D) to ``tokens`` rows."""
    return F.pad(embeds, (0, 0, 0, tokens - embeds.size(1)))
