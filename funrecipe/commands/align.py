"""``funrecipe align``: the times of the tokens of known texts -> tp_sync and tp_time, as in the original recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, help="timestamp predictor, BiCif Paraformer or model with a CTC head: folder or id")
    add("--weights", type=Path, help="a checkpoint to use instead of the model's")
    add(
        "--batch_size",
        type="positive",
        default=8,
        help="maximum number of recordings aligned at once (default: %(default)s)",
    )
    add("--gpu", choices=("true", "false"), default="true", help="use the GPU if there is one (default: %(default)s)")
    add("--ncpu", type="threads", default=1, help="threads on the CPU (default: %(default)s)")
    add("--allow_pipes", choices=("true", "false"), default="false", help="run commands that wav.scp names")
    add(
        "--max_failed",
        type=int,
        default=0,
        help="succeed if at most N recordings cannot be read (default: %(default)s)",
    )
    add("scp", metavar="WAV_SCP", type=Path, help="lines 'key path'")
    add("texts", metavar="TEXTS", type=Path, help="lines 'key text'")
    add("output_dir", metavar="OUT_DIR", type=Path, help="folder to write timestamp_prediction/{tp_sync,tp_time} into")


def run(args: argparse.Namespace) -> None:
    from funrecipe.errors import DataError, IncompleteRunError, list_problems
    from funrecipe.pipelines import Tasks, pipeline

    if args.scp.suffix != ".scp":
        raise DataError("the list of audio is not named *.scp", where=str(args.scp))
    align = pipeline(
        Tasks.speech_timestamp,
        args.model,
        ngpu=int(args.gpu == "true"),
        ncpu=args.ncpu,
        batch_size=args.batch_size,
        weights=args.weights,
        allow_pipes=args.allow_pipes == "true",
    )
    results = align(audio_in=str(args.scp), text_in=args.texts, output_dir=args.output_dir)
    failed = [f"{result['key']}: {result['error']}" for result in results if "error" in result]
    estimated = sum(result.get("is_estimated", False) for result in results)
    print(f"{count(len(results) - len(failed), 'recording')} aligned, {estimated} of them with estimated times")
    if len(failed) > args.max_failed:
        raise IncompleteRunError(
            f"{count(len(failed), 'recording')} failed\n{list_problems(failed)}", where=str(args.scp)
        )
