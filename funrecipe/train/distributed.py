"""Several processes that train one model: joining, averaging gradients, agreeing on steps.

Launchers: ``torchrun`` and ``python -m torch.distributed.launch``; both set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_*.
Gradients are averaged by one all-reduce per 64 MB after ``backward``, not by a wrapper around the model: a rank that
has run out of data simply adds zeros, and parameters that a batch did not use need no special case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist

from funrecipe.errors import UsageError, WorkerError

BUCKET_BYTES = 64 << 20


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_writer(self) -> bool:
        """The one process that writes files."""
        return self.rank == 0


def join_processes(*, device: str, timeout_s: float = 600.0) -> Ranks:
    """Join the process group that the environment describes; a single rank if it describes none.

    Raises:
        WorkerError: the others could not be reached in time.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Ranks()
    ranks = Ranks(int(os.environ["RANK"]), world_size, int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"rank {ranks.rank} of {world_size} could not join the others: {error}",
            hint="check that all processes have been started and that MASTER_ADDR:MASTER_PORT can be reached",
        ) from error
    return ranks


def leave_processes() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def sum_over_ranks(values: list[float], ranks: Ranks, device: torch.device) -> list[float]:
    """Element-wise sum of ``values`` of all ranks, in float64.

    Raises:
        WorkerError: another rank died or does not respond.
    """
    if ranks.world_size == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    _all_reduce(total, ranks)
    return total.tolist()


def agree_on_names(names: Sequence[str], ranks: Ranks, device: torch.device) -> list[str]:
    """The names of the first rank that has any, for every rank: one without a batch has computed none."""
    if ranks.world_size == 1:
        return list(names)
    text = "\n".join(names).encode()
    sizes = torch.zeros(ranks.world_size, dtype=torch.int64, device=device)
    sizes[ranks.rank] = len(text)
    _all_reduce(sizes, ranks)
    source = int(sizes.gt(0).int().argmax())
    content = torch.zeros(int(sizes[source]), dtype=torch.int32, device=device)
    if ranks.rank == source:
        content = torch.tensor(list(text), dtype=torch.int32, device=device)
    dist.broadcast(content, src=source)
    return bytes(content.tolist()).decode().split("\n")


def refuse_differences(run: Mapping[str, str], ranks: Ranks, device: torch.device) -> None:
    """Compare what identifies a run, by name, with that of the first rank.

    Raises:
        UsageError: on every rank, if one has been started with something else than the first.
    """
    first = dict(line.split("=", 1) for line in agree_on_names([f"{k}={v}" for k, v in run.items()], ranks, device))
    other = [f"{name} is {value}, and {first.get(name)} on rank 0" for name, value in run.items()
             if first.get(name) != value]  # fmt: skip
    [count] = sum_over_ranks([float(bool(other))], ranks, device)
    if count:
        said = "; ".join(other) or f"{count:g} of {ranks.world_size} ranks have been started with others than rank 0"
        raise UsageError(
            f"settings or data differ between ranks: {said}",
            hint="give all machines the same command, data, model and output_dir; train.log.<rank> names what differs",
        )


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Replace every gradient by its mean over ranks; a missing gradient counts as zero."""
    if ranks.world_size == 1:
        return
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter)
        size += parameter.numel() * parameter.element_size()
        if size >= BUCKET_BYTES:
            _average_bucket(bucket, ranks)
            bucket, size = [], 0
    if bucket:
        _average_bucket(bucket, ranks)


def share_statistics(model: nn.Module, ranks: Ranks) -> None:
    """Give every rank the running statistics of the first (batch norms), which are those that are saved.

    Otherwise each would validate a model of its own, and a resumed run another one than an undisturbed run.
    """
    if ranks.world_size == 1:
        return
    saved = model.state_dict()
    for buffer in (buffer for name, buffer in model.named_buffers() if name in saved):
        if not ranks.is_writer:
            buffer.zero_()
        _all_reduce(buffer, ranks)


def _average_bucket(bucket: list[nn.Parameter], ranks: Ranks) -> None:
    flat = torch.cat([p.grad.reshape(-1).float() for p in bucket])
    _all_reduce(flat, ranks)
    flat /= ranks.world_size
    offset = 0
    for parameter in bucket:
        count = parameter.numel()
        parameter.grad.copy_(flat[offset : offset + count].view_as(parameter.grad))
        offset += count


def _all_reduce(tensor: Tensor, ranks: Ranks) -> None:
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise WorkerError(
            f"rank {ranks.rank}: another rank died or did not respond in time: {error}",
            hint="see its log; with --max_restarts the launcher resumes from the last checkpoint",
        ) from error


def wait_for_all(ranks: Ranks) -> None:
    """Return when every rank has got here."""
    if ranks.world_size > 1:
        device = torch.device("cuda", ranks.local_rank) if dist.get_backend() == "nccl" else torch.device("cpu")
        _all_reduce(torch.zeros(1, device=device), ranks)


def check_gpus(wanted: int) -> None:
    """Raise UsageError if fewer GPUs are visible than asked for."""
    visible = torch.cuda.device_count()
    if wanted > visible:
        raise UsageError(
            f"num_gpus is {wanted}, but {visible} GPUs are visible",
            hint="check CUDA_VISIBLE_DEVICES, or train on the CPU with --num_gpus 0",
        )
