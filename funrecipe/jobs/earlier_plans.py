"""Results of earlier plans of the same folder: set aside when the plan changes, taken back when it is made again.

Each plan's shards, logs and results wait in ``output.stale.<work digest>/``. They are moved by renaming, one name after
the other, and each name is in one place only; an interrupted move is completed by the next one. Only the lists
of a plan of which nothing was decoded are deleted.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from funrecipe.files import writing
from funrecipe.jobs.plan import PLAN_NAME
from funrecipe.jobs.results import REPORTS, RESULTS

SHARD = re.compile(r"output\.\d+")
NAMES = (RESULTS, "failed.scp", "failed_recordings", "transcripts", "log", "split", *REPORTS)
DIGEST = re.compile("[0-9a-f]{64}")


def switch_plans(output_dir: Path, work_digest: str) -> tuple[Path | None, Path | None]:
    """Make room for the plan of ``work_digest`` and give it what it had decoded before.

    Returns:
        Where the results of the plan that was there went, and where those of this plan come from; None: nowhere.
    Raises:
        WriteError: a folder cannot be moved.
    """
    before = _work_digest_of(output_dir)
    aside: Path | None = None
    if before != work_digest and (old := _parts(output_dir)):
        # Without a readable plan, it is unknown what the shards were made from.
        aside = output_dir / f"output.stale.{before[:12] or 'unknown'}"
        if all(part.name in ("split", "log", PLAN_NAME) for part in old) and not aside.exists():
            _forget(old)
            aside = None
        else:
            aside = _free_name(aside, old)
            _move(old, aside)
    kept = output_dir / f"output.stale.{work_digest[:12]}"
    if not kept.is_dir() or _work_digest_of(kept) not in ("", work_digest):
        return aside, None
    # The plan first: from then on the folder belongs to this plan, even if the rest is interrupted.
    parts = sorted(_parts(kept), key=lambda path: path.name != PLAN_NAME)
    parts = [part for part in parts if not (output_dir / part.name).exists()]
    _move(parts, output_dir)
    if not any(kept.iterdir()):
        kept.rmdir()
    return aside, kept if parts else None


def _work_digest_of(folder: Path) -> str:
    """Work digest of the plan in a folder; empty if there is no readable plan."""
    try:
        digest = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8", errors="surrogateescape"))["work_digest"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else ""  # it becomes part of a path


def _parts(folder: Path) -> list[Path]:
    """What belongs to a plan, the plan itself last."""
    parts = sorted(path for path in folder.glob("output.*") if SHARD.fullmatch(path.name))
    return parts + [path for name in (*NAMES, PLAN_NAME) if (path := folder / name).exists()]


def _free_name(aside: Path, parts: list[Path]) -> Path:
    """``aside``, or with a number, where none of ``parts`` is in the way."""
    candidate, number = aside, 1
    while any((candidate / part.name).exists() for part in parts):
        number += 1
        candidate = aside.with_name(f"{aside.name}.{number}")
    return candidate


def _move(parts: list[Path], to: Path) -> None:
    with writing(to):
        to.mkdir(parents=True, exist_ok=True)
        for part in parts:
            part.rename(to / part.name)


def _forget(parts: list[Path]) -> None:
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
