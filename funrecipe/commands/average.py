"""``funrecipe average``: the mean of the n best epochs of a training run, by any criterion, after the fact."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--criterion", default="valid,acc,max", help="phase,value,min|max")
    parser.add_argument(
        "--print_criterion", action="store_true", help="print the first criterion of the run, and nothing else"
    )
    parser.add_argument(
        "--nbest", type=int, help="number of epochs, or all if there are fewer; default: keep_nbest_models of the run"
    )


def run(args: argparse.Namespace) -> int:
    from funrecipe.errors import DataError, UsageError
    from funrecipe.train.averaging import average_best, ranked_together
    from funrecipe.train.progress_log import read_json_lines

    if args.print_criterion:
        print(",".join(first_criterion(args.output_dir)))
        return 0
    parts = args.criterion.split(",")
    if len(parts) != 3 or parts[2] not in ("min", "max"):
        raise UsageError(
            f"--criterion: '{args.criterion}' is not phase,value,min|max", hint="for example valid,cer_decode,min"
        )
    nbest = setting_of_run(args.output_dir, "keep_nbest_models", 10) if args.nbest is None else args.nbest
    if nbest < 1:
        raise UsageError(f"--nbest: {nbest} is not positive")
    phase, key, mode = parts
    records = ranked_together(read_json_lines(args.output_dir / "metrics.jsonl"))
    name = f"{phase}.{key}"
    is_whole = [isinstance(r.get("epoch"), int) and isinstance(r.get(name), (int, float)) for r in records]
    history = {r["epoch"]: {key: float(r[name])} for r, whole in zip(records, is_whole) if whole}
    if not history:
        known = sorted({n for r in records for n in r if "." in n})
        raise DataError(
            f"no epoch of this run has {name}",
            where=str(args.output_dir),
            hint=f"it has {', '.join(known)}" if known else "check that this is the output_dir of a training run",
        )
    written = average_best(args.output_dir, history, phase=phase, key=key, mode=mode, nbest=[nbest])
    if not written:
        raise DataError("no <N>epoch.pb of this run is left", where=str(args.output_dir))
    for path in written:
        epochs = json.loads(path.with_suffix(".json").read_text("utf-8"))["epochs"]
        print(f"{path}: mean of epochs {', '.join(map(str, epochs))}")
    return 0


def setting_of_run(output_dir: Path, name: str, default: Any) -> Any:
    """A setting in the ``config.yaml`` of a run, or the default if there is no run yet."""
    from funrecipe.train.options import TYPES, convert, read_yaml_file

    value = read_yaml_file(output_dir / "config.yaml").get(name)
    return convert(f"{output_dir}/config.yaml: {name}", value, TYPES[name]) if value else default


def first_criterion(output_dir: Path) -> list[str]:
    """``best_model_criterion[0]`` of the run; accuracy if there is no run yet."""
    return [str(part) for part in setting_of_run(output_dir, "best_model_criterion", [("valid", "acc", "max")])[0]]
