"""Heartbeats: ``output.N/progress.json``, replaced by the worker as it goes, read by launches and ``status``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from funrecipe.files import write_text

PROGRESS_NAME = "progress.json"


@dataclass(frozen=True)
class JobStatus:
    """How far a job is. ``code`` is None until it has ended."""

    done: int = 0
    failed: int = 0
    total: int = 0
    done_audio_s: float = 0.0
    code: int | None = None
    updated: float = 0.0  # seconds since 1970


def write_status(folder: Path, status: JobStatus) -> None:
    content = asdict(status) | {"updated": round(time.time(), 3)}
    write_text(folder / PROGRESS_NAME, json.dumps(content) + "\n")


def read_status(folder: Path) -> JobStatus:
    try:
        status = JobStatus(**json.loads((folder / PROGRESS_NAME).read_text(encoding="utf-8", errors="replace")))
    except (OSError, ValueError, TypeError, RecursionError):
        return JobStatus()
    numbers = (status.done, status.failed, status.total, status.done_audio_s, status.updated, status.code or 0)
    return status if all(isinstance(number, (int, float)) for number in numbers) else JobStatus()


def clear_status(folder: Path) -> None:
    (folder / PROGRESS_NAME).unlink(missing_ok=True)
