"""A cache of arrays computed from files; entries that are damaged or missing are recomputed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from funrecipe.errors import WriteError
from funrecipe.files import atomic_write

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """``$FUNRECIPE_CACHE``, else ``$XDG_CACHE_HOME/funrecipe``, else ``~/.cache/funrecipe``."""
    if named := os.environ.get("FUNRECIPE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "funrecipe"


def cached_arrays(kind: str, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Arrays:
    """The arrays that ``make`` gives, from ``<cache folder>/<kind>/<key>.npz`` if they are there and intact.

    The archive checks its bytes when it is read, and holds numbers only: nothing in it is executed. Where it cannot be
    written, the arrays are made each time.

    Args:
        key: a digest of everything that the arrays depend on.
    """
    path = cache_folder() / kind / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass
    arrays = dict(make())
    with suppress(WriteError), atomic_write(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy declares a flag among the names
    return arrays
