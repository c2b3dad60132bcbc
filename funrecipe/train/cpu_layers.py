"""Layers for training on a CPU; parameters, names and, in fp32, results stay torch's.

Linear layers and dropout are faster: torch multiplies fp32 matrices with MKL, which on some AMD processors (Zen 4)
reaches half of what oneDNN does and on others (Zen 3) more, and draws dropout masks one element at a time. Measured by
``tools/bench/bench_train.py``. An LSTM computes in fp32 whatever the precision of the run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.kernels import fastest

# Smaller products, in multiplications, are left to MKL: oneDNN needs about 0.3 ms to set up for a new shape.
LEAST_WORK = 60_000_000
BATCH_ROWS = (100, 400)  # frames of batches, fewer than usual to save time
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


class CpuLSTM(nn.LSTM):
    """``nn.LSTM`` that autocast leaves in fp32, as it leaves ``nn.GRU`` and packed sequences.

    For a padded tensor in fp32, autocast takes a kernel of oneDNN that CPUs without AVX-512 lack: torch raises there.
    """

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float(), hx and (hx[0].float(), hx[1].float()))


def use_cpu_layers(model: nn.Module) -> nn.Module:
    """Change the plain linear, dropout and LSTM layers of ``model`` to these classes, in place, for training on a CPU.

    Linear layers of shapes that MKL multiplies faster on this CPU stay as they are.
    """
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            if type(module) is nn.LSTM:
                module.__class__ = CpuLSTM
            elif type(module) is nn.Dropout:
                module.__class__ = CpuDropout
            elif type(module) is nn.Linear and _gains(module.in_features, module.out_features):
                module.__class__ = CpuLinear
    return model


def _gains(inputs: int, outputs: int) -> bool:
    """Whether oneDNN takes less time for the three products of a training step than MKL."""

    def by_onednn(x: Tensor) -> Tensor:
        product(grad[: len(x)], weight.t())
        product(grad[: len(x)].t(), x.t())
        return product(x, weight)

    def by_mkl(x: Tensor) -> Tensor:
        grad[: len(x)] @ weight
        grad[: len(x)].t() @ x
        return F.linear(x, weight)

    weight, grad = torch.ones(outputs, inputs), torch.ones(BATCH_ROWS[1], outputs)
    ways = {"onednn": lambda: by_onednn, "mkl": lambda: by_mkl}
    return fastest("training", inputs, outputs, ways, BATCH_ROWS, for_decoding=False) == "onednn"
