"""Which number type a run computes in: what was asked for, or what the device multiplies fastest."""

from __future__ import annotations

import logging

import torch

from funrecipe.errors import UsageError
from funrecipe.models.reduced import bf16_is_faster

log = logging.getLogger(__name__)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


def name_of(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"
