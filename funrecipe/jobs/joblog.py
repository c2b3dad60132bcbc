"""Logs of jobs: each begins with the command, the host and the start and ends with the exit code and the time taken.

The head and foot lines are those of Kaldi's ``run.pl``, which people search for.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from funrecipe.files import writing

_ERROR = re.compile(r"error|exception|killed|no space left|cannot|unable", re.IGNORECASE)
_BEGINNINGS = ("# Launched at", "# Started at")
_TAIL_BYTES = 20_000


def begin(log: Path) -> None:
    """Mark where a launch begins, so that a worker killed before it writes is not blamed for an earlier run's error.

    Raises WriteError.
    """
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"# Launched at {_now()}\n")


def header(command: Sequence[str]) -> str:
    return f"# {shlex.join(command)}\n# Running on {platform.node()}\n# Started at {_now()}\n#\n"


def trailer(code: int, elapsed_s: float) -> str:
    """``code`` as subprocess reports it: negative for a signal."""
    fate = f"code {code}" if code >= 0 else f"code 0; signal {-code}"
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return (
        f"# Accounting: time={elapsed_s:.0f} threads={threads}\n"
        f"# Ended ({fate}) at {_now()}, elapsed time {elapsed_s:.0f} seconds\n"
    )


def last_error_line(log: Path) -> str:
    """The last line of a log that mentions an error, else its last line; hints of our errors ('  do:') do not count."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "no log was written"
    # A log spans several runs: only the last one's lines count.
    tail = tail[max(0, *(tail.rfind(beginning) for beginning in _BEGINNINGS)) :]
    skipped = ("#", "  at:", "  do:", "Traceback (most recent call last)")
    lines = [line.rstrip() for line in tail.split("\n") if line.strip() and not line.startswith(skipped)]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or ["no message in the log"])[-1].strip()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")
