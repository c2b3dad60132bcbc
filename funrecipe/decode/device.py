"""Where networks compute."""

from __future__ import annotations

import os

import torch

from funrecipe.errors import UsageError
from funrecipe.models.reduced import settle_gpu


def find_device(wanted: str, *, where: str | None = None, hint: str = "use the CPU") -> str:
    """A device of torch, settled (:func:`funrecipe.models.reduced.settle_gpu`); ``auto`` is the GPU if there is one.

    Raises:
        UsageError: a GPU is wanted and torch sees none; ``hint`` says what else to ask for.
    """
    has_gpu = torch.cuda.is_available()
    if wanted == "auto":
        wanted = "cuda" if has_gpu else "cpu"
    if wanted.startswith("cuda") and not has_gpu:
        what = f"torch sees no GPU (CUDA_VISIBLE_DEVICES is '{os.environ.get('CUDA_VISIBLE_DEVICES', '')}')"
        raise UsageError(what, where=where, hint=hint)
    if wanted.startswith("cuda"):
        settle_gpu()
    return wanted


def num_threads() -> int:
    """How many threads compute on the CPU."""
    return torch.get_num_threads()
