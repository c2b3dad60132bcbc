"""Encoders and decoders in bf16 or TF32, by torch's autocast: products in few bits; sums, norms and softmax in fp32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

PRECISIONS = ("fp32", "tf32", "bf16")
MULTIPLYING = (nn.Linear, nn.Conv1d, nn.Conv2d)


@contextlib.contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Products on ``device`` are computed in one of :data:`PRECISIONS`. In fp32 that means fp32, also in cuDNN, which
    takes TF32 unless told otherwise."""
    if device.type != "cuda":
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def store_in_bf16(part: nn.Module) -> None:
    """Convert the weights that products read, in place, so that autocast need not do it in every call."""
    for module in part.modules():
        if isinstance(module, MULTIPLYING):
            module.to(torch.bfloat16)


def in_fp32(outputs: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """``outputs`` with bf16 tensors as fp32."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype is torch.bfloat16 else outputs
    return tuple(output.float() if output.dtype is torch.bfloat16 else output for output in outputs)
