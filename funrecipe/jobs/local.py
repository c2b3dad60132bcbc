"""The back end that runs jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from funrecipe.jobs import joblog
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.status import read_status

# After the polite signal, how long a worker may take before it is killed.
TERM_GRACE_S = 5.0
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def worker_command(plan: Plan, jobs: Sequence[Job]) -> list[str]:
    """What any back end runs for these jobs, one after the other in one process."""
    numbers = [argument for job in jobs for argument in ("--job", str(job.number))]
    return [
        sys.executable,
        "-m",
        "funrecipe",
        "decode",
        "--plan",
        str(plan.path),
        *numbers,
        "--log_dir",
        str(plan.output_dir / "log"),
    ]


def worker_environment(plan: Plan, gpu: str | None) -> dict[str, str]:
    """Devices and threads must be settled before Python starts: torch reads them when it is imported."""
    environment = dict(os.environ)
    environment.update({name: str(plan.threads) for name in THREAD_VARIABLES})
    environment["CUDA_VISIBLE_DEVICES"] = "" if gpu is None else gpu
    environment["FUNRECIPE_LAUNCHER"] = str(os.getpid())
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), environment.get("PYTHONPATH", "")]))
    environment.update({"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "LC_ALL": "C"})
    return environment


class LocalBackend:
    """``max_running`` processes; where there are more jobs than that, a process decodes several of them, one after the
    other, so that a model is loaded once per process and not once per job."""

    def __init__(self, plan: Plan, jobs: Sequence[Job]) -> None:
        self.plan = plan
        self.codes: dict[int, int] = {}
        width = max(1, min(plan.max_running, len(jobs)))
        self._groups = [list(jobs[slot::width]) for slot in range(width)] if jobs else []
        self._running: list[tuple[subprocess.Popen[bytes], list[Job], float]] = []

    def start(self) -> None:
        for group in self._groups:
            log = self.plan.log_path(group[0].number)
            with open(log, "ab") as file:
                # Its own session: a Ctrl-C at the terminal reaches the launcher alone, which then ends the whole group.
                process = subprocess.Popen(
                    worker_command(self.plan, group),
                    env=worker_environment(self.plan, group[0].gpu),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._running.append((process, group, time.monotonic()))

    def poll(self) -> bool:
        """Collect what has ended; True while something runs."""
        for entry in list(self._running):
            process, group, started = entry
            code = process.poll()
            if code is not None:
                self._running.remove(entry)
                if code != 0:  # commands of wav.scp that a killed worker was reading from
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                self._collect(group, code, time.monotonic() - started)
        return bool(self._running)

    def cancel(self) -> None:
        """End every process group: politely, then not."""
        for number, grace_s in ((signal.SIGTERM, TERM_GRACE_S), (signal.SIGKILL, TERM_GRACE_S)):
            for process, _, _ in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            deadline = time.monotonic() + grace_s
            while self.poll() and time.monotonic() < deadline:
                time.sleep(0.05)

    def _collect(self, group: Sequence[Job], code: int, elapsed_s: float) -> None:
        """Exit status per job. Where a worker ended without a word, the job that it was at gets the process's status,
        and a last line in its log, which a killed worker cannot write; the jobs behind it were not begun."""
        culprit = None
        for job in group:
            status = read_status(self.plan.shard_folder(job.number))
            if status.code is not None:
                self.codes[job.number] = status.code
                continue
            self.codes[job.number] = code if code != 0 else 1
            last_words = joblog.trailer(code, elapsed_s)
            if culprit is not None:
                last_words = f"error: not begun, its process ended in job {culprit}\n{last_words}"
            culprit = culprit or job.number
            with contextlib.suppress(OSError), open(self.plan.log_path(job.number), "a", encoding="utf-8") as log:
                log.write(last_words)
