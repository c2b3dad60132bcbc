"""What precedes the blocks of a Transformer or Conformer: convolutions, a projection or an embedding, then positions.

Every input layer maps ``(feats, feat_lens, pad_invariant)`` to an EncoderInput. Keys are FunASR's ``embed.*``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

# input_layer name -> (kernel, stride) of each convolution over time and frequency
CONV_LAYERS: dict[str, list[tuple[int, int]]] = {
    "conv2d": [(3, 2), (3, 2)],
    "conv2dpad": [(3, 2), (3, 2)],
    "conv2d2": [(3, 2), (3, 1)],
    "conv2d6": [(3, 2), (5, 3)],
    "conv2d8": [(3, 2), (3, 2), (3, 2)],
}
# conv2dpad appends zero frames
PADDED_FRAMES = 4
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


class EncoderInput(NamedTuple):
    """x (B, T, D), the table of relative positions or None, and the lengths (B,)."""

    x: Tensor
    table: Tensor | None
    lens: Tensor


def with_positions(x: Tensor, position: nn.Module | None, lens: Tensor) -> EncoderInput:
    """Apply a position module, which returns x or (x, table)."""
    placed = x if position is None else position(x)
    return EncoderInput(*placed, lens) if isinstance(placed, tuple) else EncoderInput(placed, None, lens)


class Conv2dSubsampling(nn.Module):
    """Convolutions and a projection. (B, T, F) -> (B, T', D). FunASR: Conv2dSubsampling, ...2, ...6, ...8, ...Pad."""

    def __init__(self, layer: str, input_size: int, dim: int, position: nn.Module) -> None:
        super().__init__()
        self.shapes = CONV_LAYERS[layer]
        self.padded_frames = PADDED_FRAMES if layer == "conv2dpad" else 0
        layers: list[nn.Module] = []
        width = input_size
        for number, (kernel, stride) in enumerate(self.shapes):
            layers += [nn.Conv2d(1 if number == 0 else dim, dim, kernel, stride), nn.ReLU()]
            width = (width - kernel) // stride + 1
        self.conv = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Linear(dim * width, dim), position)
        self.min_frames = 1
        for kernel, stride in reversed(self.shapes):
            self.min_frames = (self.min_frames - 1) * stride + kernel

    def out_lens(self, lens: Tensor) -> Tensor:
        """Number of outputs of an utterance by itself: 0 if it is shorter than the convolutions reach."""
        lens = lens + self.padded_frames
        for kernel, stride in self.shapes:
            lens = (lens - kernel).div(stride, rounding_mode="floor") + 1
        return lens.clamp(min=0)

    def padded_out_lens(self, lens: Tensor, frames: int) -> Tensor:
        """Number of outputs FunASR counts for an utterance padded to ``frames``: it strides over the mask."""
        if self.padded_frames:
            return (lens + 3).div(4, rounding_mode="floor")
        mask = torch.arange(frames, device=lens.device) < lens.unsqueeze(1)
        for kernel, stride in self.shapes:
            mask = mask[:, : 1 - kernel : stride]
        return mask.sum(1)

    def forward(self, feats: Tensor, feat_lens: Tensor, pad_invariant: bool) -> EncoderInput:
        frames = feats.size(1)
        lens = self.out_lens(feat_lens) if pad_invariant else self.padded_out_lens(feat_lens, frames)
        missing = max(self.padded_frames, self.min_frames - frames)
        if missing > 0:
            feats = nn.functional.pad(feats, (0, 0, 0, missing))
        x = self.conv(feats.unsqueeze(1))
        return with_positions(self.out[0](x.transpose(1, 2).flatten(2)), self.out[1], lens)


class SequentialInput(nn.Sequential):
    """Frame-wise layers, the last of them the positions: ``linear`` and ``embed`` inputs, or positions only."""

    def forward(self, feats: Tensor, feat_lens: Tensor, pad_invariant: bool = True) -> EncoderInput:  # type: ignore[override]
        x = feats
        *layers, position = self
        for layer in layers:
            x = layer(x)
        return with_positions(x, position, feat_lens)


def build_input_layer(
    layer: str | None, input_size: int, dim: int, dropout: float, position: nn.Module, *, relu: bool = False
) -> nn.Module:
    """The input layer called ``layer`` in ``encoder_conf``; ``relu``: the Transformer's linear input ends with one."""
    if layer in CONV_LAYERS:
        return Conv2dSubsampling(layer, input_size, dim, position)
    if layer == "linear":
        # this one LayerNorm has torch's eps, 1e-5
        projection: list[nn.Module] = [nn.Linear(input_size, dim), nn.LayerNorm(dim), nn.Dropout(dropout)]
        return SequentialInput(*projection, *([nn.ReLU()] if relu else []), position)
    if layer == "embed":
        return SequentialInput(nn.Embedding(input_size, dim), position)
    if layer is None:
        return SequentialInput(position)
    raise ValueError(f"unknown input_layer '{layer}' (known: {', '.join(CONV_LAYERS)}, linear, embed)")
