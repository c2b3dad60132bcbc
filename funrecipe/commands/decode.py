"""``funrecipe decode``: the worker. Decodes jobs of a plan, one after the other, with the model loaded once."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from funrecipe.errors import DataError, FunrecipeError, Interrupted, UsageError
from funrecipe.jobs import joblog
from funrecipe.jobs.plan import Job, Plan, read_plan
from funrecipe.jobs.results import ShardWriter
from funrecipe.jobs.status import JobStatus, write_status

if TYPE_CHECKING:
    from funrecipe.decode.recognizer import Recognizer

HEARTBEAT_S = 0.5
LAUNCHER_CHECK_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--job", type=int, action="append", required=True, help="number of a job; may repeat")
    parser.add_argument(
        "--log_dir", type=Path, help="write log/decode.N.log there, one per job, instead of the terminal"
    )


def run(args: argparse.Namespace) -> int:
    _end_with_the_launcher()
    plan = read_plan(args.plan)
    jobs = [plan.job(number) for number in args.job]
    recognizer: Recognizer | None = None
    load_error: FunrecipeError | None = None
    worst = 0
    for job in jobs:
        started, code = time.monotonic(), 1
        with _log_of(job, args.log_dir):
            try:
                if load_error:
                    raise load_error
                if recognizer is None:
                    recognizer = load_model(plan, job)
                _decode_job(plan, job, recognizer)
                code = 0
            except FunrecipeError as error:
                print(f"funrecipe decode: {error}", file=sys.stderr)
                code = error.exit_code
                load_error = error if recognizer is None else None
            except KeyboardInterrupt:
                code = Interrupted.exit_code
                raise
            finally:
                worst = max(worst, code)
                _finish(plan, job, code)
                if args.log_dir:
                    print(joblog.trailer(code, time.monotonic() - started), end="")
    return worst


def load_model(plan: Plan, job: Job) -> Recognizer:
    """The recognizer of a plan, on the device of a job, after a check that the weights are those of the plan."""
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.jobs.shards import file_stamp
    from funrecipe.model_folder import open_model_folder

    started = time.monotonic()
    print(f"weights {plan.model.weights} sha256 {plan.model.weights_sha256}")
    if file_stamp(plan.model.weights) != plan.model.weights_stamp:
        raise DataError(
            "the weights have changed since the plan was made", where=plan.model.weights, hint="run stage 1 again"
        )
    folder = open_model_folder(plan.model.path)
    device = "cpu" if job.gpu is None else "cuda"
    _check_device(device, job)
    recognizer = load_recognizer(
        folder, device=device, options=DecodeOptions(**plan.options), weights=Path(plan.model.weights)
    )
    print(f"model {plan.model.path} on {device}, {plan.threads} threads, loaded in {time.monotonic() - started:.1f} s")
    return recognizer


def _check_device(device: str, job: Job) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"torch sees no GPU (CUDA_VISIBLE_DEVICES is '{os.environ.get('CUDA_VISIBLE_DEVICES', '')}')",
            where=f"job {job.number}",
            hint="use the CPU: --gpu_inference false",
        )


def _decode_job(plan: Plan, job: Job, recognizer: Recognizer) -> None:
    from funrecipe.audio.io import read_audio
    from funrecipe.jobs.decode_shard import BATCH_AUDIO_S, decode_shard
    from funrecipe.jobs.shards import ShardEntry

    def read(entry: ShardEntry):  # type: ignore[no-untyped-def]  # numpy array; numpy is imported by then
        return read_audio(
            entry.audio,
            sample_rate_hz=recognizer.sample_rate_hz,
            audio_fs=plan.audio_fs,
            start_s=entry.start_s,
            end_s=entry.end_s,
            allow_pipes=plan.allow_pipes,
        )

    last_beat = 0.0

    def beat() -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat >= HEARTBEAT_S:
            last_beat = time.monotonic()
            write_status(folder, _status(job, writer))

    folder = plan.shard_folder(job.number)
    with ShardWriter(folder, job.stamps) as writer:
        print(f"job {job.number}: {len(job.utterances)} utterances, {len(writer.done)} of them decoded before")
        started = time.monotonic()
        beat()
        decode_shard(
            job.utterances,
            writer,
            recognizer,
            read,
            batch_size=plan.batch_size,
            batch_audio_s=BATCH_AUDIO_S["cpu" if job.gpu is None else "cuda"],
            on_batch=beat,
        )
        writer.write_rtf(plan.model.frames_per_second)
        write_status(folder, _status(job, writer))
        elapsed_s = time.monotonic() - started
        print(f"job {job.number}: {len(writer.done)} decoded, {len(writer.failed)} failed in {elapsed_s:.1f} s")
        for key, reason in writer.failed.items():
            print(f"failed: {key}: {reason}")


def _status(job: Job, writer: ShardWriter) -> JobStatus:
    return JobStatus(
        done=len(writer.done),
        failed=len(writer.failed),
        total=len(job.utterances),
        done_audio_s=sum(entry.audio_s for entry in writer.done.values()),
    )


def _finish(plan: Plan, job: Job, code: int) -> None:
    """Say how the job ended; where even that cannot be written, the exit status of the process must do."""
    from dataclasses import replace

    from funrecipe.jobs.status import read_status

    folder = plan.shard_folder(job.number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_status(folder, replace(read_status(folder), code=code))
    except (FunrecipeError, OSError) as error:
        print(f"funrecipe decode: {error}", file=sys.stderr)


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


def _end_with_the_launcher() -> None:
    """A launcher that was killed outright cannot end its workers: they notice that their parent is another process."""
    launcher = os.environ.get("FUNRECIPE_LAUNCHER")
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(LAUNCHER_CHECK_S)
        os._exit(Interrupted.exit_code)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()
