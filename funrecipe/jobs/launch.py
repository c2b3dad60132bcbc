"""Run the jobs of a plan with a back end, show one progress bar over all of them, collect how each ended."""

from __future__ import annotations

import json
import select
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from funrecipe.errors import FunrecipeError, Interrupted, list_problems, unknown_name
from funrecipe.files import writing
from funrecipe.jobs import joblog
from funrecipe.jobs.backend import Backend, Outcome, error_of
from funrecipe.jobs.backend_options import LEAVE, BackendOptions
from funrecipe.jobs.launcher import LauncherBackend
from funrecipe.jobs.local import LocalBackend
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.progress import ProgressBar
from funrecipe.jobs.results import is_shard_accounted_for, is_shard_complete, unpublish
from funrecipe.jobs.slurm import SlurmBackend
from funrecipe.jobs.slurm_work import DecodingWork
from funrecipe.jobs.stall import StallWatch
from funrecipe.jobs.status import read_status
from funrecipe.processes import noted_signals, only_run_in
from funrecipe.shared_files import refresh

# With less free space than this, a worker may have been unable even to write its log.
FULL_DISK_BYTES = 1 << 20
LAUNCHES_NAME = "launches.jsonl"
LATE_FILES_S = (0.0, 1.0, 4.0)  # a file system over the network may show another machine's files a little later
ANSWER_S = 30.0
LOCAL = "local"
BACKENDS: dict[str, Callable[[Plan, Sequence[Job], BackendOptions], Backend]] = {
    LOCAL: lambda plan, jobs, _options: LocalBackend(plan, jobs),
    "slurm": lambda plan, jobs, options: SlurmBackend(DecodingWork(plan), [job.number for job in jobs], options),
    "launcher": LauncherBackend,
}


def launch(plan: Plan, backend_name: str, options: BackendOptions, *, stall_timeout_s: float) -> int:
    """Run every job that is not complete; how many there were.

    Raises:
        WorkerError: jobs failed; names each with its log and the last error in it. What is decoded is kept.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; every process has been ended.
        UsageError: no such back end. DataError: another run works in the same folder.
    """
    check_backend(backend_name)
    with only_run_in(plan.output_dir):
        jobs = [job for job in plan.jobs if not _is_complete(plan, job)]
        if not jobs:
            return 0
        unpublish(plan.output_dir)
        run = _Run(plan, jobs, BACKENDS[backend_name](plan, jobs, options), StallWatch(stall_timeout_s))
        before_s, started = run.decoded_s(), time.monotonic()
        run.run(options.on_interrupt)
        _record(plan, len(jobs), wall_s=time.monotonic() - started, audio_s=run.decoded_s() - before_s)
    return len(jobs)


def _is_complete(plan: Plan, job: Job) -> bool:
    folder = plan.shard_folder(job.number)
    return (folder / "done").exists() and is_shard_complete(folder, plan.stamps(job.number))


def check_backend(name: str) -> None:
    """Raises UsageError if there is no such back end."""
    if name not in BACKENDS:
        raise unknown_name("no back end", name, BACKENDS, where="--backend")


def read_launches(plan: Plan) -> tuple[float, float]:
    """Wall seconds and audio seconds of all launches of this plan so far; truncated lines are ignored."""
    try:
        text = (plan.output_dir / "log" / LAUNCHES_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0, 0.0
    wall_s = audio_s = 0.0
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
            if entry["digest"] == plan.digest:
                wall_s, audio_s = wall_s + float(entry["wall_s"]), audio_s + float(entry["audio_s"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return wall_s, audio_s


class _Run:
    """One launch: the jobs, what runs them, and what they have reported."""

    def __init__(self, plan: Plan, jobs: Sequence[Job], backend: Backend, watch: StallWatch) -> None:
        self.plan, self.jobs, self.backend, self.watch = plan, jobs, backend, watch
        self.statuses = {job.number: read_status(plan.shard_folder(job.number)) for job in plan.jobs}
        self._watched: set[int] = set()

    def run(self, on_interrupt: str) -> None:
        (self.plan.output_dir / "log").mkdir(parents=True, exist_ok=True)
        with ProgressBar(self.plan.num_utterances) as bar:
            wait_for_jobs(self.backend, lambda: self._look(bar), on_interrupt)
            self._watched.update(job.number for job in self.jobs)
            self._look(bar)
        outcomes = {job.number: self._outcome(job) for job in self.jobs}
        failed = [job for job in self.jobs if outcomes[job.number].code != 0]
        if failed:
            raise failure(self.plan, failed, len(self.jobs), outcomes)

    def decoded_s(self) -> float:
        return sum(status.done_audio_s for status in self.statuses.values())

    def _look(self, bar: ProgressBar) -> None:
        running = set(self.backend.running())
        for number in running | self._watched:  # those that ended since the last look, too
            self.statuses[number] = read_status(self.plan.shard_folder(number))
        self._watched = running
        self.watch.update(running, self.statuses)
        for number in self.watch.to_be_ended():
            seconds = f"{self.watch.timeout_s:.0f}"
            self.backend.stop(number, f"no progress for {seconds} s, ended (--stall_timeout_s {seconds})")
        finished = sum(status.done + status.failed for status in self.statuses.values())
        notice = self.watch.notice() or self.backend.notice()
        bar.update(finished, sum(status.failed for status in self.statuses.values()), notice)

    def _outcome(self, job: Job) -> Outcome:
        """The back end's outcome; success also requires a complete shard."""
        outcome = self.backend.outcomes.get(job.number, Outcome(1, "it was not run"))
        folder = self.plan.shard_folder(job.number)
        if outcome.code != 0:
            return outcome
        for wait_s in LATE_FILES_S:
            time.sleep(wait_s)
            refresh(folder)
            if is_shard_accounted_for(folder, self.plan.stamps(job.number)):
                return outcome
        return Outcome(1, "it succeeded, but its results are incomplete")


def wait_for_jobs(backend: Backend, look: Callable[[], None], on_interrupt: str) -> None:
    """Start the jobs and wait for their ends; ``look`` is called periodically. Raises Interrupted, as ``launch``."""
    interrupted: list[int] = []
    with noted_signals(interrupted.append):  # so that the workers are ended first
        try:
            backend.start()
            while backend.poll():
                if interrupted:
                    _leave_or_not(backend, on_interrupt, interrupted[0])
                    raise Interrupted(
                        f"stopped by {signal.Signals(interrupted[0]).name}", hint="run the same command to resume"
                    )
                look()
                time.sleep(backend.poll_s)
        finally:
            backend.cancel()


def _leave_or_not(backend: Backend, on_interrupt: str, number: int) -> None:
    """On an interruption, leave the jobs of an engine running if ``on_interrupt`` or the user at a terminal says so."""
    is_asked = not on_interrupt and number == signal.SIGINT and backend.can_leave
    if on_interrupt == LEAVE or (is_asked and _says_leave()):
        backend.leave()


def _says_leave() -> bool:
    """Ask at the terminal, if there is one; no answer for a while means no."""
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            terminal.write(b"\nLeave the jobs running? The same command takes them over again. [y/N] ")
            is_ready, _, _ = select.select([terminal], [], [], ANSWER_S)
            return bool(is_ready) and terminal.readline().strip().lower() in (b"y", b"yes")
    except OSError:
        return False


def failure(plan: Plan, failed: Sequence[Job], num_jobs: int, outcomes: Mapping[int, Outcome]) -> FunrecipeError:
    """Each failed job with how it ended, its log, and the last error in that."""
    reports = []
    for job in failed:
        log = plan.log_path(job.number)
        reports.append(f"job {job.number} ({outcomes[job.number]}): {log}\n      {joblog.last_error_line(log)}")
    hint = "no results were published; run the same command again to resume"
    if shutil.disk_usage(plan.output_dir).free < FULL_DISK_BYTES:
        hint = f"No space left on the disk of {plan.output_dir}: make room; " + hint
    # If one mistake of the user (an option, a file) ended every job, its own exit code says more.
    codes = {outcomes[job.number].code for job in failed} if len(failed) == num_jobs else set()
    return error_of(codes)(f"{len(failed)} of {num_jobs} jobs failed\n{list_problems(reports)}", hint=hint)


def _record(plan: Plan, num_jobs: int, *, wall_s: float, audio_s: float) -> None:
    entry = {
        "digest": plan.digest,
        "ended": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "jobs": num_jobs,
        "wall_s": round(wall_s, 3),
        "audio_s": round(audio_s, 3),
    }
    path = plan.output_dir / "log" / LAUNCHES_NAME
    with writing(path), open(path, "a", encoding="utf-8") as file:
        file.write("\n" * (file.tell() > 0) + json.dumps(entry))  # starts a new line even after a truncated one
