"""Where networks compute."""

from __future__ import annotations

import os
import re

import torch

from funrecipe.errors import UsageError
from funrecipe.models.reduced import settle_gpu

_NAME = re.compile(r"auto|cpu(:0)?|cuda(:[0-9]+)?", re.ASCII)


def find_device(wanted: str, *, where: str | None = None, hint: str = "use the CPU") -> str:
    """A device of torch, settled (:func:`funrecipe.models.reduced.settle_gpu`): ``cpu``, ``cuda``, ``cuda:1``.

    ``auto`` is the GPU if there is one.

    Raises:
        UsageError: another name, or a GPU that torch does not see; ``hint`` says what else to ask for.
    """
    if not isinstance(wanted, str) or not _NAME.fullmatch(wanted):
        raise UsageError(f"device is {wanted!r}", where=where, hint="give auto, cpu, cuda or cuda:N, N from 0")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        wanted = "cuda" if num_gpus else "cpu"
    kind, _, number = wanted.partition(":")
    if kind == "cuda":
        if int(number or 0) >= num_gpus:
            seen = f"{num_gpus} GPUs, numbered from 0, not '{wanted}'" if num_gpus else "no GPU"
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            raise UsageError(f"torch sees {seen} (CUDA_VISIBLE_DEVICES is '{visible}')", where=where, hint=hint)
        settle_gpu()
    return wanted


def num_threads() -> int:
    """How many threads compute on the CPU."""
    return torch.get_num_threads()
