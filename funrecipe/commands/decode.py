"""``funrecipe decode``: the worker. Decodes jobs of a plan, one after the other, with the model loaded once."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--digest", help="refuse any plan but this one")
    parser.add_argument("--job", type="positive", action="append", required=True, help="number of a job; may repeat")
    parser.add_argument(
        "--log_dir", type=Path, help="write log/decode.N.log there, one per job, instead of the terminal"
    )
    parser.add_argument("--processes", type="positive", default=1, help=argparse.SUPPRESS)
    parser.add_argument("--report_fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from funrecipe.jobs.forked import run_forked
    from funrecipe.jobs.plan import read_plan
    from funrecipe.jobs.worker import load_planned, run_jobs
    from funrecipe.processes import end_with_parent
    from funrecipe.shared_files import seen_late

    end_with_parent()
    folder = args.plan if args.plan.is_dir() else args.plan.parent
    plan = seen_late(folder, lambda: read_plan(args.plan, args.digest))
    jobs = [plan.job(number) for number in args.job]
    if args.report_fd is not None:
        return run_forked(plan, jobs, load_planned, args.log_dir, args.processes, args.report_fd)
    return run_jobs(plan, jobs, load_planned, args.log_dir)
