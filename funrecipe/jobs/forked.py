"""Workers on one machine that share a model: one process loads it and forks each of them.

The weights, packed for the CPU, are most of what a worker takes. Pages that nobody writes to stay shared after a fork,
so any number of workers load and hold them once. Only for processes of one thread: OpenMP's do not
survive a fork.

Both ends are here. The process that loads (``funrecipe decode --processes N``) writes a line per worker to a pipe when
it starts and when it ends; to the back end each worker looks like a process of its own.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from funrecipe.errors import FunrecipeError
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.worker import Load, check_code, run_jobs
from funrecipe.processes import PARENT_VARIABLE, end_with_parent

LOST = 1  # exit code of a worker whose end nobody reported


def groups_of(jobs: Sequence[Job], processes: int) -> list[list[Job]]:
    """The jobs that each of so many processes decodes, one after the other."""
    return [list(jobs[slot::processes]) for slot in range(processes)]


def run_forked(plan: Plan, jobs: Sequence[Job], load: Load, log_dir: Path, processes: int, report_fd: int) -> int:
    """Load the model of ``plan``, decode ``jobs`` in ``processes`` forks and wait for them; the highest exit code.

    Args:
        report_fd: a pipe that gets ``SLOT pid NUMBER`` and, at the end of a worker, ``SLOT code NUMBER``.
    """
    load = _loaded_before(plan, load)
    gc.freeze()  # a collection would write to pages that are shared
    slots = {}
    with open(report_fd, "w", buffering=1, encoding="ascii") as report:
        for slot, group in enumerate(groups_of(jobs, processes)):
            pid = os.fork()
            if pid == 0:
                _be_worker(plan, group, load, log_dir)
            slots[pid] = slot
            report.write(f"{slot} pid {pid}\n")
        codes = []
        while slots:
            pid, status = os.wait()
            if pid in slots:  # otherwise a command of wav.scp whose parent has ended
                codes.append(os.waitstatus_to_exitcode(status))
                report.write(f"{slots.pop(pid)} code {codes[-1]}\n")
    return max((code if code >= 0 else LOST for code in codes), default=0)


def _loaded_before(plan: Plan, load: Load) -> Load:
    """Call ``load`` now; the function returned repeats its result or its error, and what it printed."""
    said, error = io.StringIO(), None
    loaded: tuple[Any, str] | None = None
    with contextlib.redirect_stdout(said):
        try:
            check_code(plan)
            loaded = load(plan)
        except FunrecipeError as caught:
            error = caught

    def again(_plan: Plan) -> tuple[Any, str]:
        print(said.getvalue(), end="")
        if loaded is None:
            assert error is not None
            raise error
        return loaded

    return again


def _be_worker(plan: Plan, group: Sequence[Job], load: Load, log_dir: Path) -> None:
    """The rest of a forked process."""
    code = LOST
    try:
        os.setsid()  # the back end signals a worker and what it started, as one group
        os.environ[PARENT_VARIABLE] = str(os.getppid())
        end_with_parent()
        code = run_jobs(plan, group, load, log_dir)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkedWorkers:
    """The back end's end: a process that loads and forks, and its workers.

    Args:
        command: that ends in :func:`run_forked`, without ``--report_fd``; log: what it prints before it forks.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, processes: int) -> None:
        read_fd, write_fd = os.pipe()
        with open(log, "ab") as file:
            self._loader = subprocess.Popen(
                [*command, f"--processes={processes}", f"--report_fd={write_fd}"], env=environment, pass_fds=[write_fd],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        os.close(write_fd)
        os.set_blocking(read_fd, False)
        self._reports: TextIO = open(read_fd, encoding="ascii")  # noqa: SIM115  # open as long as workers report
        self.workers = [ForkedWorker(self, self._loader.pid) for _ in range(processes)]

    def look(self) -> None:
        """Read what was reported; a worker that stops reporting is taken to have ended like the loader."""
        code = self._loader.poll()  # first: what it wrote before it ended is in the pipe now
        for line in self._reports.readlines():
            slot, what, number = line.split()
            if what == "pid":
                self.workers[int(slot)].pid = int(number)
            else:
                self.workers[int(slot)].code = int(number)
        if code is None and all(worker.code is not None for worker in self.workers):
            self._loader.wait()  # it has nothing else to do, and waiting for it adds its time to ours
        elif code is not None:
            for worker in self.workers:
                if worker.code is None:
                    worker.code = code or LOST
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(worker.pid, signal.SIGKILL)


class ForkedWorker:
    """A worker with the two members of ``subprocess.Popen`` that the back end uses; ``pid`` leads its group."""

    def __init__(self, family: ForkedWorkers, pid: int) -> None:
        self.pid, self._family = pid, family
        self.code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.code is None:
            self._family.look()
        return self.code
