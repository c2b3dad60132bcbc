"""Whole files or nothing: what a scorer publishes never is half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from funrecipe.errors import DataError


def write_text(path: Path | str, chunks: str | Iterable[str]) -> None:
    """Write UTF-8 text under a temporary name in the same folder, then move it to ``path``."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines([chunks] if isinstance(chunks, str) else chunks)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}", where=str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: object) -> None:
    """Write a value as indented JSON; NaN and infinity are not JSON and raise ``ValueError``."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
