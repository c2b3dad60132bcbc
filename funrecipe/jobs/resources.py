"""The cores, memory and GPUs that this process may use, and how many jobs they allow. No torch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from funrecipe.errors import UsageError, count
from funrecipe.jobs.memory import cpu_note, gpu_notes, memory_sizes, total_memory_bytes, worker_memory_bytes


@dataclass(frozen=True)
class Layout:
    """Devices and threads for the jobs of one machine.

    Attributes:
        gpus: per job the id of its device, None for the CPU.
        gpuid_list: the indices of those GPUs that were asked for and exist; empty for the CPU.
    """

    gpus: tuple[str | None, ...]
    threads: int
    max_running: int
    notes: tuple[str, ...] = ()
    gpuid_list: str = ""

    @property
    def can_share(self) -> bool:
        """Whether jobs may share one model in memory (``jobs.forked``)."""
        return self.threads == 1 and not any(self.gpus)


def available_cores() -> int:
    """Cores that this process may use: its affinity, the quota of its control groups (containers), what Slurm gave."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    for folder in _cgroups("cpu"):
        quota, period = _quota(folder)
        if quota and period:
            cores = min(cores, max(1, quota // period))
    if os.environ.get("SLURM_CPUS_PER_TASK", "").isdecimal():
        cores = min(cores, max(1, int(os.environ["SLURM_CPUS_PER_TASK"])))
    return cores


def available_memory_bytes() -> int | None:
    """Memory that new processes may take, None where the system does not say."""
    limits = [size for name, size in memory_sizes().items() if name == "MemAvailable"]
    for folder in _cgroups("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit_text, used_text = _read(f"{folder}/{limit}").strip(), _read(f"{folder}/{used}").strip()
            if limit_text.isdigit() and used_text.isdigit():
                limits.append(max(0, int(limit_text) - int(used_text)))
    if os.environ.get("SLURM_MEM_PER_NODE", "").isdecimal() and int(os.environ["SLURM_MEM_PER_NODE"]):
        limits.append(int(os.environ["SLURM_MEM_PER_NODE"]) << 20)
    return min(limits) if limits else None


def visible_gpus() -> list[str]:
    """Ids of the GPUs that may be used: those of ``CUDA_VISIBLE_DEVICES`` if it is set, else all, by number."""
    num_gpus = _cuda_device_count()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(index) for index in range(num_gpus)]
    return [entry.strip() for entry in chosen.split(",") if entry.strip() and entry.strip() != "-1"][:num_gpus]


def lay_out(
    num_utterances: int, *, gpu_inference: str, gpuid_list: str, njob: int, ncpu: int | None, weights_bytes: int
) -> Layout:
    """Decide devices, threads per job and how many jobs run at once.

    Args:
        gpu_inference: ``true``, ``false`` or ``auto`` (the GPUs of ``gpuid_list`` that exist, else the CPU).
        gpuid_list: comma list of indices into the visible GPUs, one job each; an index may repeat.
        njob: jobs on the CPU; fewer when there are fewer utterances.
        ncpu: threads per job, None for cores // jobs.
    Raises:
        UsageError: ``gpu_inference`` is true and a GPU does not exist, the list is malformed, or there is no room for
            the weights.
    """
    indices = _parse_gpuid_list(gpuid_list)
    if gpu_inference != "false" and indices and all(index == -1 for index in indices):
        gpu_inference, njob = "false", len(indices)  # the original's way of writing "on the CPU"
    num_jobs = max(1, min(njob, num_utterances))
    if gpu_inference == "false":
        return _on_cpu(num_jobs, ncpu, weights_bytes)
    if gpu_inference == "true" and not indices:
        raise UsageError(
            "--gpu_inference true requires --gpuid_list", where="--gpuid_list", hint='list GPUs, such as "0,1"'
        )
    visible = visible_gpus()
    missing = [index for index in indices if not 0 <= index < len(visible)]
    names = f"GPU {', '.join(map(str, missing))}"
    if missing and gpu_inference == "true":
        have = f"GPUs 0 to {len(visible) - 1}" if visible else "no GPU"
        raise UsageError(
            f"{names} does not exist: this machine has {have}",
            where="--gpuid_list " + gpuid_list,
            hint="name GPUs that exist in --gpuid_list, or use the CPU: --gpu_inference false",
        )
    found = [index for index in indices if index not in missing][:num_utterances]
    if not found:
        return _on_cpu(num_jobs, ncpu, weights_bytes, ["no GPU of --gpuid_list exists: decoding on the CPU"])
    left_out = [f"{names} of --gpuid_list does not exist and is left out"] if missing else []
    layout = _on_gpus([visible[index] for index in found], ncpu, weights_bytes, left_out)
    return replace(layout, gpuid_list=",".join(map(str, found)))


def _on_gpus(ids: Sequence[str], ncpu: int | None, weights_bytes: int, notes: Sequence[str]) -> Layout:
    """A job on each of the GPUs, all at once."""
    threads = ncpu or max(1, available_cores() // len(ids))
    all_notes = (*notes, *gpu_notes(ids, weights_bytes), *_room_for(len(ids), weights_bytes))
    return Layout(tuple(ids), threads, len(ids), all_notes)


def _on_cpu(num_jobs: int, ncpu: int | None, weights_bytes: int, notes: Sequence[str] = ()) -> Layout:
    """As many of the jobs at once as cores and memory allow."""
    cores = available_cores()
    threads = ncpu or max(1, cores // num_jobs)
    by_cores = max(1, cores // threads)
    is_shared = threads == 1
    by_memory = _jobs_in_memory(weights_bytes, is_shared)
    max_running = max(1, min(num_jobs, by_cores, by_memory))
    limits = []
    if max_running < num_jobs:
        limit = f"memory for {by_memory} such jobs" if by_memory < by_cores else count(cores, "core")
        limits = [f"{max_running} of {num_jobs} jobs run at once ({limit})"]
    all_notes = (*notes, *limits, *_room_for(max_running, weights_bytes, is_shared))
    return Layout((None,) * num_jobs, threads, max_running, all_notes)


def _room_for(num_jobs: int, weights_bytes: int, is_shared: bool = False) -> list[str]:
    note = cpu_note(num_jobs, weights_bytes, available_memory_bytes(), total_memory_bytes(), is_shared=is_shared)
    return [note] if note else []


def _jobs_in_memory(weights_bytes: int, is_shared: bool) -> int:
    memory = available_memory_bytes()
    if memory is None:
        return 1_000_000
    first = worker_memory_bytes(weights_bytes)
    return 1 + max(0, memory - first) // (worker_memory_bytes(weights_bytes, 2, is_shared=is_shared) - first)


def _parse_gpuid_list(gpuid_list: str) -> list[int]:
    try:
        indices = [int(entry) for entry in gpuid_list.split(",") if entry.strip()]
    except ValueError:
        raise UsageError(f"--gpuid_list '{gpuid_list}' is not a list of numbers", hint='write it like "0,1"') from None
    if -1 in indices and any(index != -1 for index in indices):
        raise UsageError(f"--gpuid_list '{gpuid_list}' mixes GPUs and the CPU (-1)", hint="use one or the other")
    return indices


def _cuda_device_count() -> int:
    """Number of GPUs that the driver reports, without torch and without creating a context."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _cgroups(controller: str) -> list[str]:
    """The folders of this process's control group and those above it, version 1 or 2."""
    folders = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = f"/sys/fs/cgroup/{controller}" if controllers else "/sys/fs/cgroup"
        parts = [part for part in path.split("/") if part]
        folders += ["/".join([root, *parts[:depth]]) for depth in range(len(parts), -1, -1)]
    return folders


def _quota(folder: str) -> tuple[int, int]:
    """Microseconds of CPU per period, version 2 or 1; zeros where there is no limit."""
    fields = _read(f"{folder}/cpu.max").split()
    if len(fields) == 2 and fields[0].isdigit():
        return int(fields[0]), int(fields[1])
    quota, period = _read(f"{folder}/cpu.cfs_quota_us").strip(), _read(f"{folder}/cpu.cfs_period_us").strip()
    return (int(quota), int(period)) if quota.isdigit() and period.isdigit() else (0, 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
