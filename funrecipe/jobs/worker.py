"""A worker: decodes jobs of a plan, one after the other, with the model loaded once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
        with _log_of(job, log_dir), _last_words(plan, job, log_dir) as ended:
            try:
                if load_error:
                    raise load_error
                if loaded is None:
                    write_status(_folder(plan, job), JobStatus(total=job.num_utterances))
                    check_code(plan)
                    loaded = load(plan)
                _decode_job(plan, job, *loaded)
                ended(0)
            except FunrecipeError as error:
                print(f"funrecipe decode: {error}", file=sys.stderr)
                ended(error.exit_code)
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
    is_synced = is_shared(folder)
    last_beat = 0.0

    def report() -> None:
        if is_synced:  # other machines must be able to read what a heartbeat reports
            writer.sync()
        audio_s = sum(entry.audio_s for entry in writer.done.values())
        write_status(folder, JobStatus(len(writer.done), len(writer.failed), job.num_utterances, audio_s))

    def beat() -> None:
        nonlocal last_beat
        writer.flush()
        if time.monotonic() - last_beat >= HEARTBEAT_S:
            last_beat = time.monotonic()
            report()

    channels: dict[str, int] = {}
    settings = ReadSettings(recognizer.sample_rate_hz, plan.audio)
    stamps = {entry.id: entry.stamp for entry in entries}
    with ShardWriter(folder, stamps, channels) as writer, ExitStack() as stack:
        print(f"job {job.number}: {len(entries)} utterances, {len(writer.done)} of them decoded before")
        started = time.monotonic()
        beat()
        readers = readers_for(recognizer, device, settings, channels) if len(writer.done) < len(entries) else None
        decode_shard(
            entries,
            writer,
            recognizer,
            lambda entry: read_entry(entry, settings, channels),
            batch_size=plan.batch_size,
            batch_audio_s=BATCH_AUDIO_S[device],
            on_batch=beat,
            readers=stack.enter_context(readers) if readers else None,
        )
        writer.write_rtf(plan.model.frames_per_second)
        report()
    elapsed_s = time.monotonic() - started
    print(f"job {job.number}: {len(writer.done)} decoded, {len(writer.failed)} failed in {elapsed_s:.1f} s")
    for key, reason in writer.failed.items():
        print(f"failed: {key}: {reason}")


def readers_for(recognizer: Any, device: str, settings: ReadSettings, channels: dict[str, int]) -> Readers | None:
    """Processes that read for a GPU: one per core of this worker, except the one that feeds the GPU. None on the CPU,
    where threads are fast enough."""
    tile_samples = getattr(recognizer, "tile_samples", 0)
    if device == "cpu" or not tile_samples:
        return None
    cores = int(os.environ.get("OMP_NUM_THREADS") or available_cores())
    return Readers(settings, max(1, cores - 1), tile_samples, channels, recognizer.pin)


def _folder(plan: Plan, job: Job) -> Path:
    folder = plan.shard_folder(job.number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _last_words(plan: Plan, job: Job, log_dir: Path | None) -> Iterator[Callable[[int], None]]:
    """Whatever happens, say how the job ended: in its status and, with a log, in the log's last lines.

    The block calls what it is given with the exit code. SIGTERM, which job engines send before they kill, ends the
    process at once; what was decoded by then counts.
    """
    started, code = time.monotonic(), 1

    def ended(with_code: int) -> None:
        nonlocal code
        code = with_code

    def say() -> None:
        try:  # if even that cannot be written, only the exit status is left
            write_status(_folder(plan, job), replace(read_status(plan.shard_folder(job.number)), code=code))
        except (FunrecipeError, OSError) as error:
            print(f"funrecipe decode: {error}", file=sys.stderr)
        if log_dir:
            print(joblog.trailer(code, time.monotonic() - started), end="", flush=True)

    def terminate(number: int, _frame: FrameType | None) -> None:
        print(f"error: stopped by {signal.Signals(number).name}", file=sys.stderr)
        ended(Interrupted.exit_code)
        say()
        os._exit(Interrupted.exit_code)

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield ended
    except KeyboardInterrupt:
        ended(Interrupted.exit_code)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        say()


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
