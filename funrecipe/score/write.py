"""Whole files or nothing: what a scorer publishes never is half a file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from funrecipe.errors import DataError


def write_text(path: Path | str, chunks: str | Iterable[str]) -> None:
    """Write UTF-8 text under a temporary name in the same folder, then move it to ``path``.

    A device, a pipe or a link (``/dev/null``, ``/dev/stdout``) is written to, never replaced.
    """
    path = Path(path)
    in_place = os.path.islink(path) or os.path.exists(path) and not os.path.isfile(path)
    target = path if in_place else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines([chunks] if isinstance(chunks, str) else chunks)
        if not in_place:
            os.replace(target, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}", where=str(path)) from None
    finally:
        if not in_place:
            with contextlib.suppress(OSError):
                target.unlink()


def write_json(path: Path | str, value: object) -> None:
    """Write a value as indented JSON; NaN and infinity are not JSON and raise ``ValueError``."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
