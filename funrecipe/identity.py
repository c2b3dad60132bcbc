"""What makes two runs the same run: stamps, fingerprints and digests of what they read, and the version of the code.

* A *stamp* is cheap (one ``stat``) and says whether a file is still the one that was looked at.
* A *fingerprint* is of contents: the weights, statistics, token list and configuration of a model.
* A *digest* of rows stands for a list: the utterances of a plan, the data of a training run.
* The *code version* stands for the sources that results depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import funrecipe
from funrecipe.files import sha256_of

# The parts of the package whose code can change a hypothesis.
RESULT_CODE = (
    "audio",
    "decode",
    "models",
    "speaker",
    "text/*.py",
    "vad",
    "model_folder",
    "families.py",
    "checkpoint.py",
)


def file_stamp(path: str | os.PathLike[str]) -> str:
    """``size-mtime`` of a regular file; empty where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else ""


def strict_stamp(path: str | os.PathLike[str]) -> str:
    """Like ``file_stamp``, and it also changes when a file is swapped out and restored with the same timestamps.

    Good within a run only: copying or moving a folder changes it.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def value_digest(value: object) -> str:
    """SHA-256 of a parsed value (configuration, tokens) by its canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint(files: Mapping[str, Path | None], values: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 by name: of files by content, of values by ``value_digest``. A file that is None is left out."""
    digests = {name: value_digest(value) for name, value in values.items()}
    return digests | {name: sha256_of(path) for name, path in files.items() if path is not None}


def rows_digest(rows: Iterable[object]) -> str:
    """SHA-256 of a list of JSON values in their order, computed as they come: the data of a run, of any length."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def code_version() -> str:
    """The version, and a digest of the sources that results depend on."""
    package = Path(funrecipe.__file__).parent
    digest = hashlib.sha256()
    for pattern in RESULT_CODE:
        for path in sorted(package.glob(pattern if pattern.endswith(".py") else f"{pattern}/**/*.py")):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{funrecipe.__version__}+{digest.hexdigest()[:12]}"
