"""Multi-head attention with separate query, key and value projections: plain, relative, legacy relative.

Masks are boolean, True where a query may look; a query that may look nowhere gets zeros.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.layers import asks_nothing, head_width, length_mask


class MultiHeadedAttention(nn.Module):
    """Scaled dot-product attention. FunASR: MultiHeadedAttention (keys linear_{q,k,v,out})."""

    def __init__(self, heads: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_dim, self.dropout = heads, head_width(dim, heads), dropout
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(dim, dim)
        self.linear_v = nn.Linear(dim, dim)
        self.linear_out = nn.Linear(dim, dim)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)."""
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def project_keys(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of ``memory`` (B, T, D), each (B, H, T, D / H); cacheable."""
        return self.split_heads(self.linear_k(memory)), self.split_heads(self.linear_v(memory))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """``query`` (B, H, U, d), ``keys``, ``values`` (B, H, T, d), mask broadcasting to (B, H, U, T) -> (B, U, D)."""
        dropout = self.dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.linear_out(context.transpose(1, 2).flatten(2))

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """``query`` (B, U, D), ``memory`` (B, T, D), ``mask`` (B, 1 or U, T) or None -> (B, U, D)."""
        keys, values = self.project_keys(memory)
        head_mask = None if mask is None else mask.unsqueeze(1)
        return self.attend(self.split_heads(self.linear_q(query)), keys, values, head_mask)

    def step(
        self, x: Tensor, past: tuple[Tensor, Tensor], key_mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Causal self-attention, one token of K hypotheses per utterance.

        ``x`` (B, K, D); ``past``: keys and values so far, each (B, K, U, D); ``key_mask`` (B, K, U + 1): visible keys.
        Returns (B, K, D) and the keys and values with this token.
        """
        keys = torch.cat([past[0], self.linear_k(x).unsqueeze(2)], dim=2)
        values = torch.cat([past[1], self.linear_v(x).unsqueeze(2)], dim=2)
        query, k, v = (self.split_heads(part.flatten(0, 1)) for part in (self.linear_q(x).unsqueeze(2), keys, values))
        mask = None if key_mask is None else key_mask.flatten(0, 1)[:, None, None]
        return self.attend(query, k, v, mask).view_as(x), (keys, values)

    def no_past(self, batch: int, device: torch.device) -> Tensor:
        """Keys or values before the first ``step`` (B, 1, 0, D)."""
        return torch.zeros(batch, 1, 0, self.heads * self.head_dim, device=device)


class RelativeAttention(MultiHeadedAttention):
    """Self-attention with relative positions (Transformer-XL, https://arxiv.org/abs/1901.02860).

    FunASR: RelPositionMultiHeadedAttention, LegacyRelPositionMultiHeadedAttention and the chunk variant.
    """

    def __init__(self, heads: int, dim: int, dropout: float, *, legacy: bool = False) -> None:
        super().__init__(heads, dim, dropout)
        self.legacy = legacy
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, self.head_dim))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(  # type: ignore[override]  # relative positions need their table
        self, query: Tensor, memory: Tensor, mask: Tensor, table: Tensor, shift_lens: Tensor | None = None
    ) -> Tensor:
        """``query`` (B, U, D), ``memory`` (B, T, D), ``table`` (T, D) if legacy, else (U + T - 1, D) -> (B, U, D).

        ``mask`` (B, 1 or U, T). ``shift_lens`` (B,): the length each utterance has alone, for the legacy shift, which
        depends on it; None shifts by the padded length.
        """
        return self.relate(query, *self.project_keys(memory), mask, self.project_positions(table), shift_lens)

    def project_positions(self, table: Tensor) -> Tensor:
        """(rows, D) -> (H, D / H, rows); cacheable."""
        return self.linear_pos(table).view(-1, self.heads, self.head_dim).permute(1, 2, 0)

    def relate(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        positions: Tensor,
        shift_lens: Tensor | None = None,
    ) -> Tensor:
        """``forward`` with keys, values (B, H, T, D / H) and positions that are projected already."""
        q = self.split_heads(self.linear_q(query))
        by_position = torch.matmul(q + self.pos_bias_v.unsqueeze(1), positions)
        if self.legacy:
            shifted = shift_legacy_ragged(by_position, shift_lens)
        else:
            shifted = shift_relative(by_position)
        bias = (shifted / math.sqrt(self.head_dim)).masked_fill(~mask.unsqueeze(1), -torch.inf)
        return self.attend(q + self.pos_bias_u.unsqueeze(1), keys, values, bias)


def shift_relative(x: Tensor) -> Tensor:
    """out[i, j] = x[i, U - 1 - i + j]. x: (B, H, U, U + T - 1) -> (B, H, U, T)."""
    queries, keys = x.size(2), x.size(3) - x.size(2) + 1
    if torch.jit.is_tracing():  # a graph may be given one query or more
        x = F.pad(x, (0, 1))
    elif queries == 1:
        return x
    columns = x.size(3)
    flat = x.flatten(2)[..., queries - 1 : queries * columns - 1]
    return flat.view(x.size(0), x.size(1), queries, columns - 1)[..., :keys]


def shift_legacy(x: Tensor) -> Tensor:
    """Pad a column, re-read the rows one element later: Transformer-XL's shift as ESPnet first wrote it.

    Right of the diagonal it reads the next query's scores, which is how the shipped weights were trained.
    """
    frames = x.size(-1)
    return F.pad(x, (1, 0)).flatten(-2)[..., frames:].unflatten(-1, (frames, frames))


def shift_legacy_ragged(x: Tensor, lens: Tensor | None) -> Tensor:
    """shift_legacy within the first ``lens[b]`` frames of each utterance. ``x`` (B, H, T, T)."""
    if lens is not None and asks_nothing():
        return gather_legacy_ragged(x, lens)
    if lens is None or bool((lens == x.size(-1)).all()):
        return shift_legacy(x)
    shifted = torch.zeros_like(x)
    for row, frames in enumerate(lens.tolist()):
        shifted[row, :, :frames, :frames] = shift_legacy(x[row, :, :frames, :frames])
    return shifted


def gather_legacy_ragged(x: Tensor, lens: Tensor) -> Tensor:
    """shift_legacy_ragged without a loop over utterances, for graphs; on a CPU several times as slow."""
    frames = x.size(-1)
    steps = torch.arange(frames, device=x.device)
    size = lens[:, None, None]
    element = size + steps[:, None] * size + steps  # of the utterance's scores with a column in front, re-read
    row = element.div(size + 1, rounding_mode="floor")
    column = element - row * (size + 1) - 1
    is_inside = length_mask(lens, frames)
    kept = (column >= 0) & is_inside[:, :, None] & is_inside[:, None]
    source = torch.where(kept, row * frames + column, 0).flatten(1)
    gathered = x.flatten(2).gather(2, source[:, None].expand(-1, x.size(1), -1))
    return gathered.view_as(x).masked_fill(~kept[:, None], 0.0)
