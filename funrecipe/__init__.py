"""funrecipe: decode, score and fine-tune FunASR/ModelScope speech models.

Importing the package loads no torch; the public names below are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "funrecipe.transcription",
    "Transcript": "funrecipe.transcription",
    "pipeline": "funrecipe.pipelines",
    "Tasks": "funrecipe.pipelines",
    "build_trainer": "funrecipe.trainers",
    "Trainers": "funrecipe.trainers",
    "ASRDataset": "funrecipe.trainers",
    "modelscope_args": "funrecipe.trainers",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'funrecipe' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
