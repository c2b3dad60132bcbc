"""``funrecipe launch``: run the jobs of a plan and wait for them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--digest", help="refuse any plan but this one")
    parser.add_argument("--backend", default="local", help="back end that runs the jobs (default: %(default)s)")
    parser.add_argument("--launcher", default="", help="a Kaldi-style launcher, with its options")
    add_backend_arguments(parser)
    parser.add_argument(
        "--stall_timeout_s",
        type=float,
        default=1800,
        metavar="SECONDS",
        help="stop a job after this long without progress; 0: never (default: %(default)s)",
    )


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """What any job of Slurm is run with."""
    parser.add_argument(
        "--backend_opts", type=Path, help="file of Slurm settings (default: ~/.config/funrecipe/slurm.yaml)"
    )
    parser.add_argument("--max_retries", type=int, default=1, help="retries of a failed job, on another Slurm node")
    parser.add_argument(
        "--on_interrupt",
        choices=("cancel", "leave"),
        help="what to do with Slurm's jobs on Ctrl-C (default: ask on a terminal, else cancel)",
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.errors import UsageError
    from funrecipe.jobs.backend_options import BackendOptions
    from funrecipe.jobs.launch import launch
    from funrecipe.jobs.plan import read_plan
    from funrecipe.processes import end_with_parent

    if args.stall_timeout_s < 0:
        hint = "give seconds, 0 or more"
        raise UsageError(f"stall_timeout_s is {args.stall_timeout_s:g}", where="--stall_timeout_s", hint=hint)
    end_with_parent()
    plan = read_plan(args.plan, args.digest)
    options = BackendOptions(args.backend_opts, args.launcher, args.max_retries, args.on_interrupt or "")
    if not launch(plan, args.backend, options, stall_timeout_s=args.stall_timeout_s):
        print(f"all {plan.num_utterances} utterances are already decoded")
