"""The weights that a training run left in its folder: by name, or the run's own choice."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from funrecipe.errors import DataError, FunrecipeError
from funrecipe.model_folder.files import read_yaml

log = logging.getLogger(__name__)
# What recipes name by default, after FunASR's; few runs have it.
DEFAULT_NAME = "valid.cer_ctc.ave.pb"
PATTERNS = ("*.pb", "*.pt", "*.pth", "model.pt.*")
# Names of FunASR 1.x, the better first: an average of the last n epochs, the best epoch, the latest.
NAMES_1X = (r"model\.pt\.avg(\d*)", r"model\.pt\.best()", r"model\.pt\.ep(\d+)")


def find_checkpoint(checkpoint_dir: Path, name: str = DEFAULT_NAME) -> Path:
    """The file ``name`` of ``checkpoint_dir``; if that is :data:`DEFAULT_NAME` and missing, the run's own choice.

    Raises:
        DataError: no such file; lists those that exist.
    """
    path = checkpoint_dir / name
    if not path.is_file() and name == DEFAULT_NAME and (own := own_choice(checkpoint_dir)):
        log.info("%s has no %s: using %s, the run's own choice", checkpoint_dir, name, own.name)
        path = own
    if path.is_file():
        return path.resolve()
    found = sorted({p.name for pattern in PATTERNS for p in checkpoint_dir.glob(pattern)})
    there = "available: " + ", ".join(found[:20]) if found else "the folder has no checkpoint (*.pb, *.pt, *.pth)"
    hint = f"choose one with --checkpoint_name (decoding_model_name in infer_after_finetune.py); {there}"
    raise DataError(f"no checkpoint '{name}'", where=str(checkpoint_dir), hint=hint)


def own_choice(checkpoint_dir: Path) -> Path | None:
    """The average of a run's best epochs, or the nearest equivalent; None if the folder has neither.

    In this order: the average by the first ``best_model_criterion`` of ``config.yaml`` that exists, the only average
    in the folder, and of FunASR 1.x ``model.pt.avg<N>``, ``model.pt.best``, the latest ``model.pt.ep<N>``.
    """
    averages = sorted(checkpoint_dir.glob("*.ave.pb"))
    for criterion in criteria_of(checkpoint_dir):
        average = checkpoint_dir / f"{'.'.join(criterion[:2])}.ave.pb"
        if average in averages:
            return average
    if len(averages) == 1:
        return averages[0]
    for pattern in NAMES_1X:
        matches = [(re.fullmatch(pattern, path.name), path) for path in checkpoint_dir.glob("model.pt.*")]
        numbered = [(int(match[1] or 0), path) for match, path in matches if match]
        if numbered:
            return max(numbered)[1]
    return None


def criteria_of(checkpoint_dir: Path) -> list[list[str]]:
    """``best_model_criterion`` of a run, ``[phase, value, mode]`` each; empty if its ``config.yaml`` does not say."""
    config = checkpoint_dir / "config.yaml"
    try:
        criteria = read_yaml(config).get("best_model_criterion") if config.is_file() else None
    except FunrecipeError:
        return []
    criteria = criteria if isinstance(criteria, list) else []
    return [[str(part) for part in c] for c in criteria if isinstance(c, list) and len(c) >= 2]
