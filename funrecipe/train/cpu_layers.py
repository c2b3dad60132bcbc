"""Faster linear layers and dropout for training in fp32 on a CPU; parameters, names and results stay the same.

torch multiplies fp32 matrices with MKL, which on AMD processors reaches half of what oneDNN does, and draws dropout
masks one element at a time. Measured by ``tools/bench/bench_train.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Smaller products, in multiplications, are left to MKL: oneDNN needs about 0.3 ms to set up for a new shape.
LEAST_WORK = 60_000_000
LEVELS = 1 << 16  # of the random numbers that decide which elements are dropped


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` by oneDNN: ``x`` (..., K), ``weight`` (N, K) with any strides -> (..., N)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _LinearProduct(torch.autograd.Function):
    """The three products of a linear layer's forward and backward pass by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        rows, inputs = grad.flatten(0, -2), x.flatten(0, -2)
        return (
            product(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            product(rows.t(), inputs.t()) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


class CpuLinear(nn.Linear):
    """``nn.Linear``; large products in fp32 go to oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        is_large = x.numel() * self.out_features >= LEAST_WORK
        if not is_large or x.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight, self.bias)
        return _LinearProduct.apply(x, self.weight, self.bias)


class CpuDropout(nn.Dropout):
    """``nn.Dropout`` that draws four elements with one random number; ``p`` is rounded to 1/65536."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0.0 < self.p < 1.0:
            return super().forward(x)
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        numbers = draws.view(torch.int16)[: x.numel()].view(x.shape)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        keep = numbers >= dropped - LEVELS // 2
        return x * (keep * torch.tensor(LEVELS / (LEVELS - dropped), dtype=x.dtype))


REPLACEMENTS: dict[type, type] = {nn.Linear: CpuLinear, nn.Dropout: CpuDropout}


def use_cpu_layers(model: nn.Module) -> nn.Module:
    """Change the plain linear and dropout layers of ``model`` to these classes, in place, for training on a CPU."""
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            module.__class__ = REPLACEMENTS.get(type(module), type(module))
    return model
