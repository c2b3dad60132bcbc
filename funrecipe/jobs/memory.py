"""Whether the jobs that run at once fit into the memory of this machine and its GPUs, as far as can be told beforehand.

A probable lack of memory gives a warning at the start; a certain one (the weights alone, at the lowest precision, are
larger than all memory) is refused.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import UsageError

# What a worker needs besides its weights: interpreter and torch, then features, activations and audio read ahead.
# Measured on Linux with torch 2.13 on the CPU: about 0.35 GB after the import.
WORKER_BYTES = 1_000_000_000
# Weights exist twice while they are loaded.
WEIGHT_COPIES = 2
# On a GPU: CUDA's own share, and activations of the largest batch by the size of the model. Measured on an H100 with
# 220 M parameters in fp32: 7.7 GiB for a batch of 4,300 s of audio; a batch holds up to 1,200 s.
CUDA_BYTES = 500_000_000
BATCH_PER_WEIGHT = 2.5
LEAST_SHARE = {"cpu": 4, "cuda": 2}  # of the size of fp32 weights at the lowest precision: int8, bf16


def worker_memory_bytes(weights_bytes: int, num_jobs: int = 1, *, is_shared: bool = False) -> int:
    """Memory of several workers with weights of this size, which they may share (``jobs.forked``)."""
    return num_jobs * WORKER_BYTES + (1 if is_shared else num_jobs) * WEIGHT_COPIES * weights_bytes


def cpu_note(
    num_jobs: int, weights_bytes: int, available: int | None, total: int | None, *, is_shared: bool = False
) -> str:
    """A warning if the workers may not fit in the memory of this machine, else an empty text.

    Raises:
        UsageError: the weights of one are larger than all of its memory.
    """
    least = weights_bytes // LEAST_SHARE["cpu"]
    if total is not None and least > total:
        raise UsageError(
            f"the model's weights take at least {_gb(least)}, but this machine has {_gb(total)} of memory",
            where="--model",
            hint="use a machine with more memory, or a smaller model",
        )
    need = worker_memory_bytes(weights_bytes, num_jobs, is_shared=is_shared)
    if available is None or need <= available:
        return ""
    jobs = "a job needs" if num_jobs == 1 else f"{num_jobs} jobs at once need"
    return f"{jobs} about {_gb(need)} of memory, but {_gb(available)} are free: free some, or use fewer jobs"


def gpu_notes(gpus: Sequence[str], weights_bytes: int) -> list[str]:
    """Notes about GPUs (ids, one for each job) whose jobs may not fit in memory together.

    Raises:
        UsageError: the weights alone are larger than the memory of any GPU.
    """
    memory = gpu_memory(gpus)
    notes = []
    for gpu, num_jobs in Counter(gpus).items():
        if gpu not in memory:
            continue
        free, total = memory[gpu]
        jobs = "a job needs" if num_jobs == 1 else f"{num_jobs} jobs need"
        hint = f"list it fewer times in --gpuid_list (it is listed {num_jobs} times)" if num_jobs > 1 else "use the CPU"
        least = num_jobs * weights_bytes // LEAST_SHARE["cuda"]
        if least > max(total for _, total in memory.values()):  # CUDA may number GPUs of several kinds in another order
            raise UsageError(
                f"{jobs} {_gb(least)} for the weights alone, but GPU {gpu} has {_gb(total)} of memory",
                where="--gpuid_list",
                hint=hint,
            )
        need = num_jobs * int(CUDA_BYTES + weights_bytes * (1 + BATCH_PER_WEIGHT))
        if need > free:
            advice = "lower --batch_size" + (f", or {hint}" if num_jobs > 1 else "")
            notes.append(f"GPU {gpu}: {jobs} up to {_gb(need)}, but {_gb(free)} are free: {advice}")
    return notes


def gpu_memory(gpus: Sequence[str]) -> dict[str, tuple[int, int]]:
    """id -> free and total bytes, asked of NVIDIA's management library, which makes no context; without it nothing."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return {}
    if library.nvmlInit_v2() != 0:
        return {}
    found = {}
    for gpu in dict.fromkeys(gpus):
        handle, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # total, free, used
        if gpu.isdecimal():
            failed = library.nvmlDeviceGetHandleByIndex_v2(int(gpu), ctypes.byref(handle))
        else:
            failed = library.nvmlDeviceGetHandleByUUID(gpu.encode(), ctypes.byref(handle))
        if not failed and not library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
            found[gpu] = (int(memory[1]), int(memory[0]))
    library.nvmlShutdown()
    return found


def total_memory_bytes() -> int | None:
    """Memory and swap of this machine; None where the system does not say."""
    sizes = memory_sizes()
    return sizes["MemTotal"] + sizes.get("SwapTotal", 0) if "MemTotal" in sizes else None


def memory_sizes() -> dict[str, int]:
    """What the system says of its memory, in bytes by name; empty where it says nothing."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest}


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
