"""Run the old command lines in ``utils/`` with the repository's Python: they are started with any ``python3``."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def use_repository_python(needed: str) -> None:
    """Start again with the repository's ``.venv`` where this Python lacks the package ``needed``.

    Ends the process with code 2 and a hint when neither has it.
    """
    if importlib.util.find_spec(needed):
        return
    root = Path(__file__).resolve().parent.parent
    python = root / ".venv/bin/python"
    if python.exists() and Path(sys.prefix) != root / ".venv":
        os.execv(python, [str(python), *sys.argv])
    print(f"{sys.argv[0]}: {sys.executable} has no '{needed}'; run {root / 'tools/setup.sh'} first", file=sys.stderr)
    sys.exit(2)
