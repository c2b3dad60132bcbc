"""``funrecipe decode``: the worker. Decodes jobs of a plan, one after the other, with the model loaded once."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from funrecipe.errors import UsageError

if TYPE_CHECKING:
    from funrecipe.jobs.decode_shard import Recognizer
    from funrecipe.jobs.plan import Plan
    from funrecipe.jobs.task_workers import TextWorker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--digest", help="refuse any plan but this one")
    parser.add_argument("--job", type=int, action="append", required=True, help="number of a job; may repeat")
    parser.add_argument(
        "--log_dir", type=Path, help="write log/decode.N.log there, one per job, instead of the terminal"
    )
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--report_fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from funrecipe.jobs.forked import run_forked
    from funrecipe.jobs.plan import read_plan
    from funrecipe.jobs.worker import run_jobs
    from funrecipe.processes import end_with_parent
    from funrecipe.shared_files import seen_late

    end_with_parent()
    folder = args.plan if args.plan.is_dir() else args.plan.parent
    plan = seen_late(folder, lambda: read_plan(args.plan, args.digest))
    jobs = [plan.job(number) for number in args.job]
    if args.report_fd is not None:
        return run_forked(plan, jobs, load_model, args.log_dir, args.processes, args.report_fd)
    return run_jobs(plan, jobs, load_model, args.log_dir)


def load_model(plan: Plan) -> tuple[Recognizer | TextWorker, str]:
    """The recognizer of a plan and its device, if the model is the one that the plan was made with."""
    import torch

    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.families import RECOGNITION
    from funrecipe.jobs.model_record import checked_model
    from funrecipe.jobs.precision import settle_precision
    from funrecipe.jobs.task_workers import load_task_worker

    started = time.monotonic()
    print(f"weights {plan.model.weights} sha256 {plan.model.weights_sha256}")
    device = _device_of(plan)
    with checked_model(plan.model) as folder:
        weights = Path(plan.model.weights)
        recognizer: Recognizer | TextWorker
        if plan.task == RECOGNITION:
            options = settle_precision(plan, folder, DecodeOptions(**plan.options), device)
            recognizer = load_recognizer(folder, device=device, options=options, weights=weights)
        else:
            recognizer = load_task_worker(plan.task, folder, plan.options, device=device, weights=weights)
    loaded_s = time.monotonic() - started
    print(f"model {plan.model.path} on {device}, {torch.get_num_threads()} threads, loaded in {loaded_s:.1f} s")
    return recognizer, device


def _device_of(plan: Plan) -> str:
    import torch

    if plan.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if plan.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"torch sees no GPU (CUDA_VISIBLE_DEVICES is '{os.environ.get('CUDA_VISIBLE_DEVICES', '')}')",
            where=str(plan.path),
            hint="use the CPU: --gpu_inference false",
        )
    return plan.device
