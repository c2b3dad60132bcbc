"""Pieces that several encoders and decoders share: masks, positions, LayerNorm, feed-forward."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.uninitialized import Uninitialized

LAYER_NORM_EPS = 1e-12  # FunASR's and ESPnet's LayerNorm; torch's default 1e-5 would change every output

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "swish": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "selu": F.selu,
}


def head_width(width: int, heads: int) -> int:
    """The width of one of ``heads``. Raises ValueError if they cannot share ``width``."""
    if width % heads:
        raise ValueError(f"width {width} cannot be divided into {heads} attention heads")
    return width // heads


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, with eps 1e-12 unless told otherwise (``funasr.modules.layer_norm``)."""

    def __init__(self, size: int, eps: float = LAYER_NORM_EPS) -> None:
        super().__init__(size, eps=eps)


class FrameBatchNorm(nn.BatchNorm1d):
    """Batch norm of ``x`` (B, D, T); a batch of one frame, which has no variance, takes the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.size(0) * x.size(2) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


_masks = threading.local()


@contextlib.contextmanager
def masks_always() -> Iterator[None]:
    """In this thread, mask whether anything is padded or not: what is computed then depends on shapes alone.

    Nothing has to be asked of the device either, which would end the recording of a CUDA graph.
    """
    before = getattr(_masks, "always", False)
    _masks.always = True
    try:
        yield
    finally:
        _masks.always = before


def asks_nothing() -> bool:
    """Whether this thread goes by shapes alone: within :func:`masks_always`, and while a graph is traced for export."""
    return torch.jit.is_tracing() or getattr(_masks, "always", False)


def length_mask(lens: Tensor, max_len: int) -> Tensor:
    """(B,) lengths -> (B, max_len) bool, True where a position is valid."""
    return torch.arange(max_len, device=lens.device) < lens[:, None]


def padding_mask(lens: Tensor, max_len: int) -> Tensor | None:
    """Like :func:`length_mask`, but None when no row is padded, so that the layers can skip masking.

    While a graph is traced for export there is always a mask: only at run time is it known whether rows are padded. So
    there is within :func:`masks_always`.
    """
    if asks_nothing():
        return length_mask(lens, max_len)
    return None if bool((lens >= max_len).all()) else length_mask(lens, max_len)


def sinusoidal_positions(length: int, size: int, *, start: int = 1, device: torch.device | None = None) -> Tensor:
    """Position table (length, size): first half sines, second half cosines, positions counted from ``start``.

    Source: ``funasr.modules.embedding.SinusoidalPositionEncoder`` (counts from 1 and takes the size of its input).
    """
    half = size // 2
    increment = math.log(10000.0) / (half - 1)
    inverse_scales = torch.exp(torch.arange(half, dtype=torch.float32, device=device) * -increment)
    positions = torch.arange(start, start + length, dtype=torch.float32, device=device)
    angles = positions[:, None] * inverse_scales
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function FunASR calls ``name``; ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation '{name}' (known: {', '.join(ACTIVATIONS)})")
    return ACTIVATIONS[name]


class PointwiseConv(nn.Conv1d):
    """A convolution of width 1 as the matrix product that it is: (B, T, D) -> (B, T, D'); a Conv1d's keys."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.squeeze(-1), self.bias)

    def as_linear(self) -> nn.Linear:
        """The same product as an ``nn.Linear`` that shares the weights."""
        with Uninitialized():
            linear = nn.Linear(self.in_channels, self.out_channels)
        linear.weight = nn.Parameter(self.weight.detach().squeeze(-1), requires_grad=False)
        bias = None if self.bias is None else nn.Parameter(self.bias.detach(), requires_grad=False)
        linear.register_parameter("bias", bias)
        return linear


class FeedForward(nn.Module):
    """``w_2(dropout(act(w_1 x)))``, (B, T, D) -> (B, T, D); state-dict keys ``w_1``, ``w_2``."""

    def __init__(self, size: int, hidden_units: int, dropout_rate: float, activation_type: str = "relu") -> None:
        super().__init__()
        self.activation = activation(activation_type)
        self.w_1 = nn.Linear(size, hidden_units)
        self.w_2 = nn.Linear(hidden_units, size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.activation(self.w_1(x))))


def depthwise_conv(x: Tensor, weight: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """Depthwise convolution over time: ``x`` (B, T, D), ``weight`` (D, 1, K) -> (B, left + T + right - K + 1, D).

    As an image of one row in channels-last order, which (B, T, D) already is: on CPU the kernels for that order
    are several times as fast as ``conv1d`` between two transpositions, with the same result.
    """
    image = F.pad(x, (0, 0, *padding)).transpose(1, 2).unsqueeze(2)
    convolved = F.conv2d(image, weight.unsqueeze(2), groups=weight.size(0))
    return convolved.squeeze(2).transpose(1, 2)
