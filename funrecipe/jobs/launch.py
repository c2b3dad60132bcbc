"""Run the jobs of a plan with a back end, show one progress bar over all of them, collect how each ended."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from funrecipe.errors import (
    DataError,
    FunrecipeError,
    Interrupted,
    UnsafeFileError,
    UsageError,
    WorkerError,
    did_you_mean,
    list_problems,
)
from funrecipe.jobs import joblog
from funrecipe.jobs.local import LocalBackend
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.progress import ProgressBar
from funrecipe.jobs.results import is_shard_complete, read_done, unpublish
from funrecipe.jobs.status import clear_status, read_status
from funrecipe.processes import only_run_in

POLL_S = 0.2
# With less room than this a worker may not even have been able to write its log.
FULL_DISK_BYTES = 1 << 20
LAUNCHES_NAME = "launches.jsonl"


class Backend(Protocol):
    """What runs jobs. ``codes`` gets the exit status of every job that has ended, negative for a signal."""

    codes: dict[int, int]

    def start(self) -> None: ...

    def poll(self) -> bool: ...

    def cancel(self) -> None: ...


BACKENDS: dict[str, Callable[[Plan, Sequence[Job]], Backend]] = {"local": LocalBackend}


@dataclass(frozen=True)
class LaunchReport:
    """What a launch did: jobs run (0 when all was decoded before), wall time and audio decoded in it."""

    num_jobs: int
    wall_s: float
    audio_s: float


def launch(plan: Plan, backend_name: str = "local") -> LaunchReport:
    """Run every job that is not complete.

    Raises:
        WorkerError: jobs failed; names each with its log and the last error in it. What is decoded is kept.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; every process has been ended.
        UsageError: no such back end. DataError: another run works in the same folder.
    """
    check_backend(backend_name)
    with only_run_in(plan.output_dir):
        jobs = [job for job in plan.jobs if not is_shard_complete(plan.shard_folder(job.number), job.stamps)]
        if not jobs:
            return LaunchReport(0, 0.0, 0.0)
        unpublish(plan.output_dir)
        before_s, started = _decoded_s(plan), time.monotonic()
        _run(plan, jobs, BACKENDS[backend_name](plan, jobs))
        report = LaunchReport(len(jobs), time.monotonic() - started, _decoded_s(plan) - before_s)
        _record(plan, report)
        return report


def check_backend(name: str) -> None:
    """Raises UsageError if there is no such back end."""
    if name not in BACKENDS:
        hint = did_you_mean(name, BACKENDS) or f"there are: {', '.join(BACKENDS)}"
        raise UsageError(f"no back end '{name}'", where="--backend", hint=hint)


def read_launches(plan: Plan) -> tuple[float, float]:
    """Wall seconds and audio seconds of all launches of this plan so far."""
    try:
        lines = (plan.output_dir / "log" / LAUNCHES_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0, 0.0
    launches = [json.loads(line) for line in lines]
    mine = [entry for entry in launches if entry["digest"] == plan.digest]
    return sum(entry["wall_s"] for entry in mine), sum(entry["audio_s"] for entry in mine)


def _run(plan: Plan, jobs: Sequence[Job], backend: Backend) -> None:
    (plan.output_dir / "log").mkdir(parents=True, exist_ok=True)
    for job in jobs:
        clear_status(plan.shard_folder(job.number))
    with _interruptible() as interrupted, ProgressBar(plan.num_utterances) as bar:
        try:
            backend.start()
            while backend.poll():
                if interrupted:
                    raise Interrupted(
                        f"stopped by {signal.Signals(interrupted[0]).name}", hint="the same command goes on from here"
                    )
                bar.update(*_progress(plan))
                time.sleep(POLL_S)
            bar.update(*_progress(plan))
        finally:
            backend.cancel()
    failed = [job for job in jobs if backend.codes.get(job.number, 1) != 0]
    if failed:
        raise _failure(plan, failed, len(jobs), backend.codes)


def _failure(plan: Plan, failed: Sequence[Job], num_jobs: int, codes: Mapping[int, int]) -> FunrecipeError:
    """Each failed job with how it ended, its log, and the last error in that."""
    reports = []
    for job in failed:
        log = plan.log_path(job.number)
        reports.append(
            f"job {job.number} ({_fate(codes.get(job.number, 1))}): {log}\n      {joblog.last_error_line(log)}"
        )
    hint = "nothing was published; the same command goes on from what is decoded"
    if shutil.disk_usage(plan.output_dir).free < FULL_DISK_BYTES:
        hint = f"No space left on the disk of {plan.output_dir}: make room; " + hint
    # Where the same mistake of the user (an option, a file) ended every job, its own exit code says more.
    common = {codes.get(job.number) for job in failed} if len(failed) == num_jobs else set()
    kinds: list[type[FunrecipeError]] = [UsageError, DataError, UnsafeFileError]
    kind = next((kind for kind in kinds if common == {kind.exit_code}), WorkerError)
    return kind(f"{len(failed)} of {num_jobs} jobs failed\n{list_problems(reports)}", hint=hint)


def _fate(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = ", out of memory?" if code == -signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{hint}"


def _progress(plan: Plan) -> tuple[int, int]:
    states = [read_status(plan.shard_folder(job.number)) for job in plan.jobs]
    return sum(state.done + state.failed for state in states), sum(state.failed for state in states)


def _decoded_s(plan: Plan) -> float:
    return sum(done.audio_s for job in plan.jobs for done in read_done(plan.shard_folder(job.number) / "done").values())


def _record(plan: Plan, report: LaunchReport) -> None:
    entry = {
        "digest": plan.digest,
        "ended": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "jobs": report.num_jobs,
        "wall_s": round(report.wall_s, 3),
        "audio_s": round(report.audio_s, 3),
    }
    with open(plan.output_dir / "log" / LAUNCHES_NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Signals that ask us to stop are noted, so that the loop can end the workers first. A signal that was ignored
    before (nohup) stays ignored; SIGINT does not, since a shell starts its background jobs with it ignored."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
