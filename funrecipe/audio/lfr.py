"""Low frame rate: stack ``m`` neighboring frames, advance by ``n``.

Source: ``funasr.models.frontend.wav_frontend.apply_lfr``: ``(m - 1) // 2`` copies of the first frame in front,
the last frame repeated at the end, ``ceil(T / n)`` outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stack_frames(feats: Tensor, feat_lens: Tensor, m: int, n: int) -> tuple[Tensor, Tensor]:
    """``feats`` (B, T, D), ``feat_lens`` (B,) -> (B, ceil(T / n), m * D), lengths; edges repeat, per utterance."""
    if m == 1 and n == 1:
        return feats, feat_lens
    lens = (feat_lens + n - 1).div(n, rounding_mode="floor")
    longest = int(lens.max()) if lens.numel() else 0
    steps = torch.arange(longest, device=feats.device)[:, None] * n
    taps = steps + torch.arange(m, device=feats.device) - (m - 1) // 2
    last = (feat_lens - 1).clamp(min=0)[:, None]
    source = torch.minimum(taps.flatten()[None].clamp(min=0), last)
    stacked = feats[torch.arange(feats.size(0), device=feats.device)[:, None], source]
    return stacked.reshape(feats.size(0), longest, m * feats.size(2)), lens
