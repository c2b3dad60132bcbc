"""Which of several kernels for the same product is the fastest on this CPU: timed once, then remembered for good.

Two kernels may round differently, so all workers of a run must use the same one, and so must a run that resumes it. The
first to time a shape records what was fastest; nobody overwrites it, and all go by the record. Where nothing can be
written, or nothing is timed, it is the first kernel.
"""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from funrecipe.cache import cache_folder
from funrecipe.files import temporary_name
from funrecipe.identity import value_digest

LEAST_WEIGHTS, LEAST_TRAINED = 1 << 18, 1 << 16  # of a layer that is worth the time, in decoding and in training
ROWS = (20, 100)  # a step of a stream, an utterance
REPETITIONS, LEAST_REPETITIONS, BUDGET_S = 30, 3, 0.2
CLEARLY = 0.9  # of the time of the first way

Layer = Callable[[Tensor], Tensor]


def fastest(
    what: str,
    inputs: int,
    outputs: int,
    ways: Mapping[str, Callable[[], Layer]],
    rows: tuple[int, int] = ROWS,
    *,
    for_decoding: bool = True,
) -> str:
    """The name of the way to compute a layer of that shape, the first of ``ways`` unless another is faster here.

    Args:
        what: the kind of layer, part of the name under which the answer is kept.
        ways: name -> a function that gives the layer with any weights.
        rows: of a small and a large input.
        for_decoding: the result of a row may not depend on the other rows, and another way than the first must be
            clearly faster.
    """
    default = next(iter(ways))
    if inputs * outputs < (LEAST_WEIGHTS if for_decoding else LEAST_TRAINED) or len(ways) == 1:
        return default
    path = cache_folder() / "kernels" / _machine() / f"{what}-{inputs}-{outputs}-{torch.get_num_threads()}"
    written = _read(path)
    if written is None:
        _write_once(path, _timed(inputs, ways, rows, for_decoding))
        written = _read(path)
    return written if written in ways else default


def _timed(inputs: int, ways: Mapping[str, Callable[[], Layer]], rows: tuple[int, int], for_decoding: bool) -> str:
    """The first way, unless the best call and the median call of another, in turns, are faster."""
    times: dict[str, tuple[list[float], ...]] = {}
    # what else runs on the machine counts less in the time of the thread
    now, end = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter, time.monotonic() + BUDGET_S
    with torch.inference_mode():
        batches = [torch.linspace(-1, 1, count * inputs).view(count, inputs) for count in rows]
        layers = {name: make() for name, make in ways.items()}
        for name, layer in layers.items():
            few, many = layer(batches[1][: rows[0]]), layer(batches[1])[: rows[0]]  # prepared, too, by the first call
            if not for_decoding or torch.equal(few, many):
                times[name] = tuple([] for _ in batches)
        for done in range(REPETITIONS):
            if done >= LEAST_REPETITIONS and time.monotonic() > end:
                break
            for size, x in enumerate(batches):
                for name, spent in times.items():
                    begin = now()
                    layers[name](x)
                    spent[size].append((now() - begin) / len(x))
    default = next(iter(ways))
    best, median = (
        {name: sum(map(statistic, spent)) for name, spent in times.items()} for statistic in (min, statistics.median)
    )
    if default not in times:
        return min(best, key=lambda name: best[name], default=default)
    most = CLEARLY if for_decoding else 1.0
    faster = [name for name in times if max(best[name] / best[default], median[name] / median[default]) < most]
    return min(faster, key=lambda name: best[name], default=default)


@functools.cache
def _machine() -> str:
    """A digest of what the speed and the bits of a kernel depend on."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags", "Features")
    lines: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            lines.setdefault(name.strip(), value.strip())
    found = {name: lines.get(name, "") for name in wanted}
    limits = {name: os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")}
    versions = [torch.__version__, _version("onnx"), _version("onnxruntime")]
    return value_digest([found, limits, *versions, torch.backends.cpu.get_cpu_capability()])[:16]


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return str(find_spec(package) is not None)  # onnxruntime-gpu is the same package


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None


def _write_once(path: Path, text: str) -> None:
    """Write a file unless it is there; another process sees all of it or none."""
    temporary = temporary_name(path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="ascii")
        os.link(temporary, path)
    with suppress(OSError):
        temporary.unlink()
