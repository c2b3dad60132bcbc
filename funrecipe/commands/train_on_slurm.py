"""``funrecipe train_on_slurm``: training as a Slurm job, on one node or several."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.commands.launch import add_backend_arguments

    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the training run, seen by all nodes")
    parser.add_argument("--num_nodes", type="positive", default=1, help="number of nodes (default: %(default)s)")
    parser.add_argument("--num_gpus", type=int, default=0, help="GPUs of each node, one process each; 0: CPU")
    parser.add_argument("--num_processes", type="positive", default=1, help="processes of each node on the CPU")
    parser.add_argument("--max_restarts", type=int, default=0, help="restarts from the last checkpoint within the job")
    add_backend_arguments(parser)
    parser.add_argument("options", nargs="*", help="after --: further options of funrecipe train")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.backend_options import BackendOptions
    from funrecipe.jobs.slurm_training import Training, train_on_slurm
    from funrecipe.processes import end_with_parent

    end_with_parent()
    processes = (args.num_nodes, args.num_gpus, args.num_processes, args.max_restarts)
    options = (f"--output_dir={args.output_dir}", *args.options)
    train_on_slurm(
        Training(args.output_dir, options, *processes),
        BackendOptions(args.backend_opts, "", args.max_retries, args.on_interrupt or ""),
    )
