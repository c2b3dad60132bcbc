"""A worker: decodes jobs of a plan, one after the other, with the model loaded once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from funrecipe.errors import DataError, FunrecipeError, Interrupted
from funrecipe.families import RECOGNITION
from funrecipe.identity import code_version
from funrecipe.jobs import joblog
from funrecipe.jobs.model_record import checked_model
from funrecipe.jobs.plan import AGAIN, Job, Plan
from funrecipe.jobs.readers import Readers
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.resources import available_cores
from funrecipe.jobs.results import ShardWriter
from funrecipe.jobs.status import JobStatus, read_status, write_status
from funrecipe.shared_files import is_shared, seen_late

if TYPE_CHECKING:
    from funrecipe.jobs.decode_shard import Recognizer

HEARTBEAT_S = 0.5

# Gives the recognizer of a plan and its device: cpu or cuda.
Load = Callable[[Plan], "tuple[Recognizer, str]"]


def load_planned(plan: Plan) -> tuple[Recognizer, str]:
    """The recognizer for a plan's jobs and its device; the model must be the one that was planned.

    Raises:
        UsageError, DataError, UnsafeFileError: there is no such device; the model has changed, or cannot be read.
    """
    from funrecipe.decode.device import find_device, num_threads
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.jobs.precision import settle_precision
    from funrecipe.jobs.task_workers import load_task_worker

    started = time.monotonic()
    print(f"weights {plan.model.weights} sha256 {plan.model.weights_sha256}")
    device = find_device(plan.device, where=str(plan.path), hint="use the CPU: --gpu_inference false")
    with checked_model(plan.model) as folder:
        weights = Path(plan.model.weights)
        recognizer: Recognizer
        if plan.task == RECOGNITION:
            options = settle_precision(plan, folder, DecodeOptions(**plan.options), device)
            recognizer = load_recognizer(folder, device=device, options=options, weights=weights)
        else:
            recognizer = load_task_worker(plan.task, folder, plan.options, device=device, weights=weights)
    loaded_s = time.monotonic() - started
    print(f"model {plan.model.path} on {device}, {num_threads()} threads, loaded in {loaded_s:.1f} s")
    return recognizer, device


def run_jobs(plan: Plan, jobs: Sequence[Job], load: Load, log_dir: Path | None) -> int:
    """Decode ``jobs``; returns their highest exit code. An error while loading the model counts for every job."""
    loaded: tuple[Recognizer, str] | None = None
    load_error: FunrecipeError | None = None
    worst = 0
    for job in jobs:
        with _log_of(job, log_dir), _LastWords(plan, job, log_dir) as last_words:
            try:
                if load_error:
                    raise load_error
                if loaded is None:
                    write_status(_folder(plan, job), JobStatus(total=job.num_utterances))
                    check_code(plan)
                    loaded = load(plan)
                _decode_job(plan, job, *loaded)
                last_words.code = 0
            except FunrecipeError as error:
                print(f"funrecipe decode: {error}", file=sys.stderr)
                last_words.code = error.exit_code
                worst = max(worst, error.exit_code)
                load_error = error if loaded is None else None
    return worst


def check_code(plan: Plan) -> None:
    """Raises DataError if the code that results depend on is not the plan's."""
    if plan.code and plan.code != code_version():
        what = f"the code has changed since the plan was made: it was {plan.code}, now it is {code_version()}"
        raise DataError(what, where=str(plan.path), hint=AGAIN)


def _decode_job(plan: Plan, job: Job, recognizer: Recognizer, device: str) -> None:
    from funrecipe.jobs.decode_shard import BATCH_AUDIO_S, decode_shard

    entries = seen_late(plan.output_dir / "split", lambda: plan.entries(job.number))
    folder = _folder(plan, job)
    channels: dict[str, int] = {}
    settings = ReadSettings(recognizer.sample_rate_hz, plan.audio)
    with ShardWriter(folder, {entry.id: entry.stamp for entry in entries}, channels) as writer:
        print(f"job {job.number}: {len(entries)} utterances, {len(writer.done)} of them decoded before")
        started = time.monotonic()
        heartbeat = _Heartbeat(job, folder, writer)
        heartbeat.report()
        is_complete = len(writer.done) == len(entries)
        readers = None if is_complete else readers_for(recognizer, device, settings, channels)
        with readers or nullcontext():
            decode_shard(
                entries,
                writer,
                recognizer,
                lambda entry: read_entry(entry, settings, channels),
                batch_size=plan.batch_size,
                batch_audio_s=BATCH_AUDIO_S[device],
                on_batch=heartbeat.after_batch,
                readers=readers,
            )
        writer.write_rtf(plan.model.frames_per_second)
        heartbeat.report()
    elapsed_s = time.monotonic() - started
    print(f"job {job.number}: {len(writer.done)} decoded, {len(writer.failed)} failed in {elapsed_s:.1f} s")
    for key, reason in writer.failed.items():
        print(f"failed: {key}: {reason}")


class _Heartbeat:
    """Reports how far a job is: after a batch, but not more often than every ``HEARTBEAT_S``."""

    def __init__(self, job: Job, folder: Path, writer: ShardWriter) -> None:
        self._job, self._folder, self._writer = job, folder, writer
        self._is_synced = is_shared(folder)
        self._reported = 0.0  # when

    def after_batch(self) -> None:
        self._writer.flush()
        if time.monotonic() - self._reported >= HEARTBEAT_S:
            self.report()

    def report(self) -> None:
        self._reported = time.monotonic()
        if self._is_synced:  # other machines must be able to read what a heartbeat reports
            self._writer.sync()
        done, failed = self._writer.done, self._writer.failed
        audio_s = sum(entry.audio_s for entry in done.values())
        write_status(self._folder, JobStatus(len(done), len(failed), self._job.num_utterances, audio_s))


def readers_for(recognizer: Any, device: str, settings: ReadSettings, channels: dict[str, int]) -> Readers | None:
    """Processes that read for a GPU: one per core of this worker, except the one that feeds the GPU. None on the CPU,
    where threads are fast enough."""
    if device == "cpu" or not recognizer.tile_samples:
        return None
    cores = int(os.environ.get("OMP_NUM_THREADS") or available_cores())
    return Readers(settings, max(1, cores - 1), recognizer.tile_samples, channels, recognizer.pin)


def _folder(plan: Plan, job: Job) -> Path:
    folder = plan.shard_folder(job.number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _LastWords:
    """Whatever happens, says how the job ended: in its status and, with a log, in the log's last lines.

    SIGTERM, which job engines send before they kill, ends the process at once; what was decoded by then counts.

    Attributes:
        code: the exit code that it says.
    """

    def __init__(self, plan: Plan, job: Job, log_dir: Path | None) -> None:
        self._plan, self._job, self._log_dir = plan, job, log_dir
        self._started = time.monotonic()
        self.code = 1

    def __enter__(self) -> _LastWords:
        self._previous = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.code = Interrupted.exit_code
        signal.signal(signal.SIGTERM, self._previous)
        self._say()

    def _terminate(self, number: int, _frame: FrameType | None) -> None:
        print(f"error: stopped by {signal.Signals(number).name}", file=sys.stderr)
        self.code = Interrupted.exit_code
        self._say()
        os._exit(self.code)

    def _say(self) -> None:
        folder = self._plan.shard_folder(self._job.number)
        try:  # if even that cannot be written, only the exit status is left
            write_status(_folder(self._plan, self._job), replace(read_status(folder), code=self.code))
        except (FunrecipeError, OSError) as error:
            print(f"funrecipe decode: {error}", file=sys.stderr)
        if self._log_dir:
            print(joblog.trailer(self.code, time.monotonic() - self._started), end="", flush=True)


@contextmanager
def _log_of(job: Job, log_dir: Path | None) -> Iterator[None]:
    """Send what this process and its libraries print to the job's log, by file descriptor."""
    if log_dir is None:
        yield
        return
    log_dir.mkdir(parents=True, exist_ok=True)
    with open(log_dir / f"decode.{job.number}.log", "ab") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    print(joblog.header([sys.executable, "-m", "funrecipe", *sys.argv[1:]]), end="", flush=True)
    yield
    sys.stdout.flush()
    sys.stderr.flush()
