"""The mean of the n best epochs of a run, by any criterion, after the fact."""

from __future__ import annotations

from pathlib import Path

from funrecipe.errors import DataError, UsageError
from funrecipe.train.averaging import average_best, ranked_together
from funrecipe.train.options import setting_of_run
from funrecipe.train.progress_log import read_json_lines


def average_run(output_dir: Path, criterion: str, nbest: int | None = None) -> list[Path]:
    """Write the averages of a run's best epochs; their files.

    Args:
        criterion: ``phase,value,min|max``.
        nbest: number of epochs; None: ``keep_nbest_models`` of the run.

    Raises:
        UsageError: not such a criterion, or no positive number.
        DataError: no epoch has the value, or none is left.
    """
    parts = criterion.split(",")
    if len(parts) != 3 or parts[2] not in ("min", "max"):
        hint = "give a criterion such as valid,cer_decode,min"
        raise UsageError(f"--criterion: '{criterion}' is not phase,value,min|max", hint=hint)
    nbest = setting_of_run(output_dir, "keep_nbest_models", 10) if nbest is None else nbest
    if nbest < 1:
        raise UsageError(f"--nbest: {nbest} is not positive")
    phase, key, mode = parts
    records = ranked_together(read_json_lines(output_dir / "metrics.jsonl"))
    name = f"{phase}.{key}"
    is_whole = [isinstance(r.get("epoch"), int) and isinstance(r.get(name), (int, float)) for r in records]
    history = {r["epoch"]: {key: float(r[name])} for r, whole in zip(records, is_whole) if whole}
    if not history:
        known = sorted({n for r in records for n in r if "." in n})
        raise DataError(
            f"no epoch of this run has {name}",
            where=str(output_dir),
            hint=f"use one of {', '.join(known)}" if known else "check that this is the output_dir of a training run",
        )
    written = average_best(output_dir, history, phase=phase, key=key, mode=mode, nbest=[nbest])
    if not written:
        raise DataError("no <N>epoch.pb of this run is left", where=str(output_dir))
    return written
