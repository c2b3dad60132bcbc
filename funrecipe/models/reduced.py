"""Encoders and decoders in bf16 or TF32, by torch's autocast: products in few bits; sums, norms and softmax in fp32."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRECISIONS = ("fp32", "tf32", "bf16")
MULTIPLYING = (nn.Linear, nn.Conv1d, nn.Conv2d)
# A linear layer of a small model: 256 frames, 512 inputs and outputs. Emulated bf16 takes ten times as long as fp32.
FRAMES, WIDTH = 256, 512
REPETITIONS = 5
WORTH_IT = 0.8  # bf16 rounds to 8 bits: take it only if it is clearly faster


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


def settle_gpu() -> None:
    """For this process: fp32 in cuDNN, too, whose default is TF32, and no attention of cuDNN.

    torch prefers that one for bf16 on an H100. It takes about 30 ms of CPU to prepare for every new shape, in every
    thread, and says nothing about rows that are masked altogether.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


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


def bf16_is_faster(device: torch.device) -> bool:
    """Known for GPUs (since Ampere), measured on a CPU in a few milliseconds. Tests replace it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return seconds_of_product(torch.bfloat16) < WORTH_IT * seconds_of_product(torch.float32)


def seconds_of_product(dtype: torch.dtype) -> float:
    """The shortest of a few linear layers on this CPU."""
    x, weight = torch.ones(FRAMES, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    shortest = float("inf")
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        F.linear(x, weight)
        shortest = min(shortest, time.perf_counter() - started)
    return shortest
