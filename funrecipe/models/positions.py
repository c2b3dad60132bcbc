"""Positions of the Transformer and Conformer families: absolute, scaled, relative."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# The legacy relative encoding counts down from here (ESPnet's table of 5000 positions, stored in reverse).
LEGACY_TABLE_POSITIONS = 5000


def sinusoid(positions: Tensor, dim: int) -> Tensor:
    """Interleaved sin/cos encoding (Vaswani et al. 2017). ``positions`` (N,) float -> (N, dim)."""
    rate = torch.exp(torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) * -(math.log(10000.0) / dim))
    angles = positions.float().unsqueeze(1) * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


class PositionalEncoding(nn.Module):
    """x * sqrt(D) + sinusoid. (B, T, D) -> (B, T, D); ``start`` is the position of the first frame."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        positions = torch.arange(start, start + x.size(1), device=x.device)
        return self.dropout(x * math.sqrt(self.dim) + sinusoid(positions, self.dim).to(x.dtype))


class ScaledPositionalEncoding(PositionalEncoding):
    """x + alpha * sinusoid with a learned alpha (https://arxiv.org/abs/1809.08895)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(dim, dropout)
        self.alpha = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        positions = torch.arange(start, start + x.size(1), device=x.device)
        return self.dropout(x + self.alpha * sinusoid(positions, self.dim).to(x.dtype))


class RelativePositionalEncoding(nn.Module):
    """Scales the input and returns it with the table for relative attention.

    ``legacy``: T rows for the positions 4999, 4998, ...: ESPnet's first implementation, which shipped models use.
    Otherwise 2T - 1 rows for the distances T-1 ... -(T-1) (https://arxiv.org/abs/1901.02860, appendix B).
    """

    def __init__(self, dim: int, dropout: float, *, legacy: bool) -> None:
        super().__init__()
        self.dim, self.legacy = dim, legacy
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` (B, T, D) -> (B, T, D), table (rows, D)."""
        frames = x.size(1)
        first = max(LEGACY_TABLE_POSITIONS, frames) - 1 if self.legacy else frames - 1
        rows = frames if self.legacy else 2 * frames - 1
        positions = first - torch.arange(rows, device=x.device)
        return self.dropout(x * math.sqrt(self.dim)), self.dropout(sinusoid(positions, self.dim).to(x.dtype))
