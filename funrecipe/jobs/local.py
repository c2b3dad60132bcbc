"""The back end that runs jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.jobs import joblog
from funrecipe.jobs.backend import Outcome, ProcessBackend, signal_group, worker_command, worker_environment
from funrecipe.jobs.forked import ForkedWorker, ForkedWorkers, groups_of
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.resources import Layout, lay_out
from funrecipe.jobs.status import clear_status, read_status
from funrecipe.processes import PARENT_VARIABLE


def layout_of(plan: Plan) -> Layout:
    """Devices and threads of the plan's jobs on this machine, as it is now."""
    return lay_out(
        plan.num_utterances,
        gpu_inference="false" if plan.device == "cpu" else "true" if plan.device == "cuda" else "auto",
        gpuid_list=plan.gpuid_list,
        njob=len(plan.jobs),
        ncpu=plan.ncpu,
        weights_bytes=Path(plan.model.weights).stat().st_size,
    )


@dataclass
class _Worker:
    process: subprocess.Popen[bytes] | ForkedWorker
    jobs: list[Job]
    started: float
    at: int = 0  # index of the job that it is at
    stopped: str = ""


class LocalBackend(ProcessBackend):
    """``max_running`` processes; where there are more jobs than that, a process decodes several of them, one after the
    other. On the CPU with one thread each, the model is loaded once for all of them (``jobs.forked``)."""

    poll_s = 0.2
    grace_s = 5.0

    def __init__(self, plan: Plan, jobs: Sequence[Job]) -> None:
        super().__init__(plan)
        self.layout = layout_of(plan)
        width = max(1, min(self.layout.max_running, len(jobs)))
        self._jobs, self._groups = list(jobs), groups_of(jobs, width) if jobs else []

    def start(self) -> None:
        for job in self._jobs:
            joblog.begin(self.plan.log_path(job.number))
            clear_status(self.plan.shard_folder(job.number))
        if len(self._groups) > 1 and self.layout.can_share:
            log = self.plan.log_path(self._jobs[0].number)
            command, environment = worker_command(self.plan, self._jobs), self._environment(0)
            processes: Sequence[subprocess.Popen[bytes] | ForkedWorker]
            processes = ForkedWorkers(command, environment, log, len(self._groups)).workers
        else:
            processes = [self._start_process(slot) for slot in range(len(self._groups))]
        started = time.monotonic()
        self._started = [_Worker(process, group, started) for process, group in zip(processes, self._groups)]

    def _start_process(self, slot: int) -> subprocess.Popen[bytes]:
        group = self._groups[slot]
        with open(self.plan.log_path(group[0].number), "ab") as file:
            # Its own session: a Ctrl-C at the terminal reaches the launcher alone, which then ends the whole group.
            return subprocess.Popen(
                worker_command(self.plan, group),
                env=self._environment(slot),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self, slot: int) -> dict[str, str]:
        environment = worker_environment(os.environ, self.layout.threads)
        environment["CUDA_VISIBLE_DEVICES"] = self.layout.gpus[slot % len(self.layout.gpus)] or ""
        return environment | {PARENT_VARIABLE: str(os.getpid())}

    def running(self) -> list[int]:
        """The first job of each worker that has not ended."""
        for worker in self._started:
            while worker.at < len(worker.jobs) and self._status_code(worker.jobs[worker.at]) is not None:
                worker.at += 1
        return [worker.jobs[worker.at].number for worker in self._started if worker.at < len(worker.jobs)]

    def stop(self, number: int, reason: str) -> None:
        for worker in self._started:
            if any(job.number == number for job in worker.jobs):
                worker.stopped = reason
                signal_group(worker, signal.SIGKILL)  # a stopped or blocked process ignores other signals

    def _status_code(self, job: Job) -> int | None:
        return read_status(self.plan.shard_folder(job.number)).code

    def _collect(self, worker: _Worker, code: int) -> None:
        """The outcome of each job. If a worker ended without reporting it, the job that it was running gets its
        status, and a last line in the log, which a killed worker cannot write; later jobs were not started."""
        if code != 0:  # commands of wav.scp that a killed worker was reading from
            signal_group(worker, signal.SIGKILL)
        culprit = None
        for job in worker.jobs:
            status_code = self._status_code(job)
            if status_code is not None:
                self.outcomes[job.number] = Outcome(status_code)
                continue
            self.outcomes[job.number] = Outcome(code if code != 0 else 1, worker.stopped if culprit is None else "")
            last_words = joblog.trailer(code, time.monotonic() - worker.started)
            if culprit is not None:
                last_words = f"error: not started: its process ended in job {culprit}\n{last_words}"
            elif worker.stopped:
                last_words = f"error: {worker.stopped}\n{last_words}"
            culprit = culprit or job.number
            with contextlib.suppress(OSError), open(self.plan.log_path(job.number), "a", encoding="utf-8") as log:
                log.write(last_words)
