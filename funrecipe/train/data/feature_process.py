"""A process that makes training batches: it reads audio, augments it and computes features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from funrecipe.coprocess import serve
from funrecipe.train.data.dataset import BatchBuilder


def made_by(builder: BatchBuilder) -> Callable[[tuple[Any, int]], tuple[Any, dict[str, str]]]:
    """Answers ``(group, epoch)`` by the fields of the batch as arrays (tensors would take named shared memory)."""
    torch.set_num_threads(1)

    def answer(request: tuple[Any, int]) -> tuple[Any, dict[str, str]]:
        batch, failed = builder.build(*request)
        return None if batch is None else batch.as_arrays(), failed

    return answer


if __name__ == "__main__":
    serve(made_by)
