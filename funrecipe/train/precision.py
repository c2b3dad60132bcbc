"""Which number type a run computes in: what was asked for, or what the device multiplies fastest."""

from __future__ import annotations

import logging
import time

import torch
from torch.nn import functional as F

from funrecipe.errors import UsageError

log = logging.getLogger(__name__)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A linear layer of a small model: 256 frames, 512 inputs and outputs. Emulated bf16 takes ten times as long as fp32.
FRAMES, WIDTH = 256, 512
REPETITIONS = 5
WORTH_IT = 0.8  # bf16 rounds to 8 bits: take it only if it is clearly faster


def choose_precision(wanted: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16`` for ``wanted``, which may be ``auto``; logs what was taken and warns of emulation.

    Raises:
        UsageError: fp16 on a CPU.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise UsageError("precision fp16 works on a GPU only", hint="use --precision auto, bf16 or fp32")
    if wanted == "fp32" or wanted == "fp16":
        return wanted
    is_faster = bf16_is_faster(device)
    if wanted == "auto":
        chosen = "bf16" if is_faster else "fp32"
        log.info("precision auto: %s, since this %s %s bf16 faster", chosen, name_of(device),
                 "multiplies" if is_faster else "does not multiply")  # fmt: skip
        return chosen
    if not is_faster:
        log.warning("precision bf16 is emulated on this %s and slow: use --precision auto or fp32", name_of(device))
    return wanted


def bf16_is_faster(device: torch.device) -> bool:
    """Known for GPUs (since Ampere), measured on a CPU in a few milliseconds. The place for a test to step in."""
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


def name_of(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"
