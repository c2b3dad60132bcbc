"""The contract between ``launch`` and a back end, which runs the jobs of a plan, and the command that every back end
runs.

A back end is independent of models and results. It starts ``worker_command`` for each job wherever it likes, with
``worker_environment`` and a device of the plan's kind, and reports how each ended in the engine's own terms. It does
not decide whether a job is finished: the files of the shard prove that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from funrecipe.errors import DataError, FunrecipeError, UnsafeFileError, UsageError, WorkerError
from funrecipe.jobs.plan import Job, Plan
from funrecipe.processes import LOCK_FD_VARIABLE, PARENT_VARIABLE

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# For the launching process only; meaningless on another machine or at another time.
PRIVATE_VARIABLES = (PARENT_VARIABLE, LOCK_FD_VARIABLE)


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        code: exit status, negative for a signal.
        reason: the engine's reason, if it gives one, and what to do ("OUT_OF_MEMORY: raise mem"); empty: see ``code``.
    """

    code: int
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if self.code >= 0:
            return f"exit code {self.code}"
        hint = ", out of memory?" if self.code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-self.code).name}{hint}"


def error_of(codes: Set[int]) -> type[FunrecipeError]:
    """The error class for jobs that ended with these codes: that of the user's mistake if all have the same, else
    WorkerError."""
    mistakes: tuple[type[FunrecipeError], ...] = (UsageError, DataError, UnsafeFileError)
    return next((kind for kind in mistakes if codes == {kind.exit_code}), WorkerError)


class Backend(Protocol):
    """What runs jobs.

    Attributes:
        outcomes: by number, of every job that has ended.
        poll_s: how often ``poll`` may be called.
        can_leave: whether its jobs can run on without the launch that started them.
    """

    outcomes: dict[int, Outcome]
    poll_s: float
    can_leave: bool

    def start(self) -> None: ...

    def poll(self) -> bool:
        """Collect what has ended; True while something runs or waits."""
        ...

    def running(self) -> Collection[int]:
        """Numbers of the jobs that a worker is at now, not those that wait."""
        ...

    def stop(self, number: int, reason: str) -> None:
        """End a running job that makes no progress; ``reason`` becomes that of its outcome."""
        ...

    def notice(self) -> str:
        """What the progress line says about the engine; empty: nothing."""
        ...

    def leave(self) -> None:
        """Leave everything running, if possible, so that the same command can take it over."""
        ...

    def cancel(self) -> None:
        """End everything. May be called after everything has ended, and more than once."""
        ...


class ProcessBackend:
    """The common part of back ends that start processes on this machine, each the leader of its group."""

    can_leave = False
    grace_s: ClassVar[float]  # seconds from SIGTERM to SIGKILL

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcomes: dict[int, Outcome] = {}
        self._started: list[Any] = []  # with a ``process`` each

    def _collect(self, started: Any, code: int) -> None:
        """Note the outcome of every job of what has ended with ``code``."""
        raise NotImplementedError

    def poll(self) -> bool:
        for started in list(self._started):
            code = started.process.poll()
            if code is not None:
                self._started.remove(started)
                self._collect(started, code)
        return bool(self._started)

    def notice(self) -> str:
        return ""

    def leave(self) -> None:
        """The processes end with this one."""

    def cancel(self) -> None:
        """End every process group: with SIGTERM, then with SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for started in self._started:
                signal_group(started, number)
            deadline = time.monotonic() + self.grace_s
            while self.poll() and time.monotonic() < deadline:
                time.sleep(0.05)


def signal_group(started: Any, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.process.pid, number)


def consecutive(numbers: Iterable[int]) -> list[range]:
    """1, 2, 3, 7 as 1 to 3, and 7."""
    found: list[range] = []
    for number in sorted(numbers):
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def worker_command(plan: Plan, jobs: Sequence[Job]) -> list[str]:
    """The command that runs these jobs, one after the other in one process, on any back end."""
    numbers = [argument for job in jobs for argument in ("--job", str(job.number))]
    command = [sys.executable, "-m", "funrecipe", "decode", f"--plan={plan.path}", f"--digest={plan.digest}"]
    return [*command, *numbers, f"--log_dir={plan.output_dir / 'log'}"]


def worker_environment(environment: Mapping[str, str], threads: int | None) -> dict[str, str]:
    """``environment`` with what a worker needs on any back end. The number of threads must be set before Python starts,
    because torch reads it when it is imported; None leaves it to the engine."""
    result = {name: value for name, value in environment.items() if name not in PRIVATE_VARIABLES}
    if threads is not None:
        result.update({name: str(threads) for name in THREAD_VARIABLES})
    # An empty entry of PYTHONPATH would be the working directory, whose files could replace Python's.
    entries = [str(PACKAGE_PARENT), *result.get("PYTHONPATH", "").split(os.pathsep)]
    result["PYTHONPATH"] = os.pathsep.join(filter(None, entries))
    result.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks for huge pages; large fp32 models are 4 % faster
    return result | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "LC_ALL": "C"}
