"""The folders of a data directory for training."""

from __future__ import annotations

from pathlib import Path

from funrecipe.errors import DataError

TRAIN_FOLDER = "train"
VALIDATION_FOLDERS = ("validation", "dev", "valid")  # the first that is there


def validation_dir(data_dir: Path) -> Path:
    """The validation set of ``data_dir``. Raises DataError if there is none."""
    for name in VALIDATION_FOLDERS:
        if (data_dir / name).is_dir():
            return data_dir / name
    raise DataError(
        "no validation set",
        where=str(data_dir),
        hint=f"add a folder '{VALIDATION_FOLDERS[0]}' or '{VALIDATION_FOLDERS[1]}' next to '{TRAIN_FOLDER}', "
        "with the same files",
    )


def list_in(data_dir: Path, name: str, hint: str) -> Path:
    """The list ``name`` of a set. Raises DataError if it is missing; ``hint`` says what to write there."""
    if not (data_dir / name).exists():
        raise DataError(f"no file '{name}' in the data directory", where=str(data_dir), hint=hint)
    return data_dir / name
