"""Sides of a comparison: each is a process of its own, and all are asked for one piece of work at a time, in turns.

So whatever else the machine does in the meantime meets all sides alike. What is compared is CPU time (of the process,
one thread); every figure of a table is computed from the same measurements by the same formula for all sides.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


class Side:
    """A process that runs ``python -m module arguments``, which ends in :func:`serve`.

    Args:
        name: of the side in tables; python: its interpreter, which need not be ours.
    """

    def __init__(self, name: str, python: str, module: str, arguments: Sequence[str]) -> None:
        self.name = name
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [python, "-m", module, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def ask(self, request: Any) -> dict[str, Any]:
        """``{"cpu_s", "wall_s", "result"}`` of one piece of work."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            self.process.wait()
            raise SystemExit(f"benchmark: {self.name} ended with exit code {self.process.returncode}") from None

    def end(self) -> None:
        """Let the process end, and wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(load: Callable[[], Callable[[Any], Any]]) -> int:
    """Answer requests from standard input with what the function that ``load`` gives returns, and its time."""
    import torch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    torch.set_num_threads(1)
    work = load()
    for line in sys.stdin:
        request = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        result = work(request)
        spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        answers.write(json.dumps(spent | {"result": result}) + "\n")
        answers.flush()
    return 0


def sides_here(asked: str, peer_python: str | None) -> list[str]:
    """Of ``NAME:PRECISION,...`` those that can be computed here."""
    from funrecipe.models.packed import cpu_precisions

    def is_able(name: str, precision: str) -> bool:
        return bool(peer_python) if name == "FunASR" else name != "funrecipe" or precision in cpu_precisions()

    return [side for side in asked.split(",") if is_able(*side.split(":"))]


def in_turns(sides: Sequence[Side], requests: Sequence[Any], rounds: int) -> dict[str, list[list[dict[str, Any]]]]:
    """side -> request -> its answers, one a round. A first round warms up and does not count."""
    answers: dict[str, list[list[dict[str, Any]]]] = {side.name: [[] for _ in requests] for side in sides}
    for number in range(rounds + 1):
        for row, request in enumerate(requests):
            for side in sides:
                answer = side.ask(request)
                if number:
                    answers[side.name][row].append(answer)
    return answers


def cpu_s(answers: Iterable[Sequence[dict[str, Any]]]) -> float:
    """CPU seconds of all requests: the sum of the medians over the rounds."""
    return sum(statistics.median(answer["cpu_s"] for answer in of_request) for of_request in answers)


def ratio(ours: Sequence[Sequence[dict[str, Any]]], theirs: Sequence[Sequence[dict[str, Any]]]) -> float:
    """How many times our CPU time a side takes: the median over requests and rounds, each against its neighbor."""
    pairs = [(a["cpu_s"], b["cpu_s"]) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return statistics.median(b / a for a, b in pairs)


def results(answers: Iterable[Sequence[dict[str, Any]]]) -> list[Any]:
    """The result of every request.

    Raises:
        SystemExit: a side gave different results in different rounds.
    """
    found = []
    for of_request in answers:
        if any(answer["result"] != of_request[0]["result"] for answer in of_request):
            raise SystemExit("benchmark: a side gives different results for the same input")
        found.append(of_request[0]["result"])
    return found


def print_table(conditions: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table in Markdown below a line that says where, on what and how often it was measured."""
    peaks = ", ".join(f"{name} {peak:.0f}" for name, peak in measured_peaks().items())
    print(textwrap.fill(f"{machine()}; peaks of a thread {peaks} GFLOP/s; {conditions}.", 110), end="\n\n")
    for cells in (["", *columns], ["---"] * (len(columns) + 1), *rows):
        print(f"| {' | '.join(cells)} |")
    print()


def machine() -> str:
    """The CPU, what it can multiply with, and how busy the machine is."""
    text = Path("/proc/cpuinfo").read_text()
    found = dict(tuple(part.strip() for part in line.split(":", 1)) for line in text.splitlines() if ":" in line)
    flags = found.get("flags", "").split()
    able = " ".join(name for name in FEATURES if name in flags)
    where = f"{found.get('model name', 'CPU')}, family {found.get('cpu family')}, model {found.get('model')}"
    return f"{where}: {able}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


@cache
def measured_peaks() -> dict[str, float]:
    """The most billion operations a second of CPU time that a large product reaches on one thread, by precision."""
    import torch
    from torch import nn

    from funrecipe.models import onnx_products, packed

    torch.set_num_threads(1)
    linear, x = nn.Linear(1024, 1024).requires_grad_(False), torch.randn(512, 1024)
    calls = {"fp32": [packed.PackedLinear(linear), linear]}
    if onnx_products.can_use_onnxruntime():
        calls["fp32"].append(onnx_products.OnnxRuntimeLinear(linear))
    if "fp16" in packed.cpu_precisions():
        calls["fp16"] = [packed.Fp16Linear(linear)]
    if "bf16" in packed.cpu_precisions():
        calls["bf16"] = [packed.PackedLinear(linear, torch.bfloat16)]
    if "int8" in packed.cpu_precisions():
        codes, inputs = torch.ones(1024, 1024, dtype=torch.int8), torch.ones(512, 1024, dtype=torch.int8)
        calls["int8"] = [packed.Int8Linear(linear), lambda _: torch._int_mm(inputs, codes)]
    work = 2 * x.numel() * linear.out_features
    return {name: max(work / 1e9 / _best_s(call, x) for call in kinds) for name, kinds in calls.items()}


def _best_s(call: Callable[[Any], Any], x: Any, times: int = 20) -> float:
    """CPU seconds of the best call."""
    best = float("inf")
    for _ in range(times):
        begin = time.thread_time()
        call(x)
        best = min(best, time.thread_time() - begin)
    return best
