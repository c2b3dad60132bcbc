"""``funrecipe plan``: plan a run. Reads the data directory and the model folder's description, writes ``plan.json`` and
``split/``; loads no weights."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

BOOLEAN = ("true", "false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.audio.settings import add_audio_arguments
    from funrecipe.decode.options import add_option_arguments
    from funrecipe.families import TASKS
    from funrecipe.model_folder.checkpoints import DEFAULT_NAME
    from funrecipe.punctuation.render import DEFAULT_RULES

    add = parser.add_argument
    add("--model", help="model folder, or an id of the model zoo that is on disk")
    add("--data_dir", type=Path, help="Kaldi data directory")
    add("--output_dir", type=Path, required=True, help="folder of the run")
    add("--njob", type="positive", default=64, help="CPU jobs, at most one per utterance (default: %(default)s)")
    add("--batch_size", type="positive", default=64, help="maximum size of a batch on the CPU (default: %(default)s)")
    add(
        "--gpu_inference",
        choices=("auto", *BOOLEAN),
        default="auto",
        help="auto: GPUs if there are any, else the CPU; true: GPUs; false: CPU",
    )
    add("--gpuid_list", default="0,1", help="GPUs of this machine to use, one job each (default: %(default)s)")
    add("--ncpu", type="threads", help="threads per job (default: cores / jobs)")
    add("--checkpoint_dir", type=Path, help="folder of a fine-tuning run")
    add(
        "--checkpoint_name", default=DEFAULT_NAME, help="weights in it (default: %(default)s, or the run's own average)"
    )
    add("--resume", choices=BOOLEAN, default="true", help="keep the results of an interrupted run of this plan")
    add("--backend", default="local", help="back end that will run the jobs (default: %(default)s)")
    add_audio_arguments(parser)
    add("--task", choices=TASKS, default=TASKS[0], help="what the model is expected to do (default: %(default)s)")
    add("--texts", type=Path, help="lines 'key text', for the tasks punctuation and timestamp")
    add("--text_rules", help=f"how punctuation is written: 0.7, 0.8, 1.4 (default: {DEFAULT_RULES})")
    add_option_arguments(parser)
    add("--check", choices=BOOLEAN, default="false", help="do not plan; refuse options that differ from the plan's")


def run(args: argparse.Namespace) -> None:
    from funrecipe.audio.settings import settings_given
    from funrecipe.errors import UsageError
    from funrecipe.jobs.make_plan import PlanRequest, check_plan, plan_run
    from funrecipe.punctuation.render import DEFAULT_RULES

    asked = {name: getattr(args, name) for name in ("checkpoint_dir", "checkpoint_name", "task")}
    asked["options"] = decode_options(args)
    audio = settings_given(args)
    if args.check == "true":
        channel = None if args.channel is None else audio.channel
        rules = args.text_rules
        check_plan(args.output_dir, args.model, audio_fs=args.audio_fs, channel=channel, text_rules=rules, **asked)
        return
    if args.model is None:
        raise UsageError("--model is missing", where="--model")
    asked |= {"texts": args.texts, "text_rules": args.text_rules or DEFAULT_RULES}
    laid_out = ("njob", "batch_size", "gpu_inference", "gpuid_list", "ncpu", "backend")
    request = PlanRequest(**{name: getattr(args, name) for name in laid_out}, resume=args.resume == "true", audio=audio)
    print("\n".join(plan_run(args.model, args.data_dir, args.output_dir, request=request, **asked)))


def decode_options(args: argparse.Namespace) -> dict[str, Any]:
    """Only what was asked for. The text "None" is how old recipes said "no hotwords"."""
    from funrecipe.decode.options import OPTIONS, options_given

    if args.hotword and args.hotword.lower() == "none":
        args.hotword = None
    if args.hotword and os.path.isfile(args.hotword):
        args.hotword = str(Path(args.hotword).resolve())
    options = options_given(args)  # values out of range are an error now, not in every worker
    return {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
