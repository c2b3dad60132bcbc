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
        "with wav.scp and text",
    )
