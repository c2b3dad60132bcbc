"""Which Slurm arrays belong to a run: ``slurm.json`` in its folder, kept as long as any of them may be alive.

An array is recorded by its name before it is submitted, so that a launch that is killed before Slurm answers with the
number does not leave an unknown array behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError
from funrecipe.files import write_json
from funrecipe.jobs.slurm_client import Answer, Call, client_environment, named_command, read_squeue, squeue_command

RECORD_NAME = "slurm.json"
NAME = re.compile(r"funrecipe-[\w.-]+")  # it becomes an argument


@dataclass(frozen=True)
class Array:
    """``id`` is Slurm's; the job of an index is the index and ``offset``."""

    id: str
    offset: int
    numbers: tuple[int, ...]


def read(output_dir: Path, digest: str) -> tuple[list[Array], Array | None]:
    """The arrays of this plan, and the one that was being submitted, with its name as ``id``; none where the record is
    of another plan, or damaged."""
    recorded, arrays, intent = _read(output_dir)
    return (arrays, intent) if recorded == digest else ([], None)


def write(output_dir: Path, digest: str, arrays: Sequence[Array], intent: Array | None = None) -> None:
    parts = {"arrays": arrays, "submitting": [intent] if intent else []}
    rows = {name: [[array.id, array.offset, list(array.numbers)] for array in part] for name, part in parts.items()}
    write_json(output_dir / RECORD_NAME, {"digest": digest, **rows})


def remove(output_dir: Path) -> None:
    (output_dir / RECORD_NAME).unlink(missing_ok=True)


def refuse_living(output_dir: Path, digest: str, environment: dict[str, str], *, resume: bool) -> None:
    """Raises DataError if arrays of another plan, or of results that are not to be kept, still live in the folder."""
    recorded, arrays, intent = _read(output_dir)
    if not (arrays or intent) or (recorded == digest and resume):
        return
    try:
        ids, answer = _ask(arrays, intent, environment)
    except OSError:
        what = "arrays of Slurm may still write here, and squeue is not on this machine"
        hint = f"if they have ended, remove {output_dir / RECORD_NAME}"
        raise DataError(what, where=str(output_dir), hint=hint) from None
    named, where = ", ".join(ids), str(output_dir)
    hint = f"end them (scancel {' '.join(ids)}), or choose another --output_dir"
    if answer.is_unreachable:
        raise DataError(f"Slurm does not say whether its arrays {named} are still writing here", where=where, hint=hint)
    if _are_alive(answer):
        raise DataError(f"Slurm arrays {named} of another command are still writing here", where=where, hint=hint)
    remove(output_dir)


def lives(output_dir: Path, environment: dict[str, str]) -> bool:
    """Whether recorded arrays live, as far as Slurm can be asked."""
    _, arrays, intent = _read(output_dir)
    try:
        _, answer = _ask(arrays, intent, environment)
    except OSError:
        return bool(arrays or intent)
    return answer.is_unreachable or _are_alive(answer)


def _ask(arrays: Sequence[Array], intent: Array | None, environment: dict[str, str]) -> tuple[list[str], Answer]:
    """The arrays, the one that was being submitted included, and what Slurm says of them. Raises OSError: no Slurm."""
    ids, clients = [array.id for array in arrays], client_environment(environment)
    if intent is not None:
        ids += Call(named_command(intent.id), clients).wait().output.split()[:1]
    return ids, Call(squeue_command(ids), clients).wait() if ids else Answer(0, "", "")


def _are_alive(answer: Answer) -> bool:
    return any(not element.has_ended for element in read_squeue(answer.output).values())


def _read(output_dir: Path) -> tuple[str, list[Array], Array | None]:
    try:
        content = json.loads((output_dir / RECORD_NAME).read_text(encoding="utf-8"))
        arrays, submitting = (_arrays(content.get(name, [])) for name in ("arrays", "submitting"))
        intents = [array for array in submitting if NAME.fullmatch(array.id)]
        return (
            str(content["digest"]),
            [array for array in arrays if array.id.isdecimal()],
            intents[0] if intents else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", [], None


def _arrays(rows: Sequence[Sequence[Any]]) -> list[Array]:
    found = [Array(str(id), int(offset), tuple(map(int, numbers))) for id, offset, numbers in rows]
    return [array for array in found if array.numbers]
