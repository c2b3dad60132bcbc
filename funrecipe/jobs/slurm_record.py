"""Which arrays of Slurm a run has: ``slurm.json`` in its folder, as long as any of them may live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.errors import DataError
from funrecipe.files import write_json
from funrecipe.jobs.slurm_client import Call, client_environment, read_squeue, squeue_command

RECORD_NAME = "slurm.json"


@dataclass(frozen=True)
class Array:
    """``id`` is Slurm's; the job of an index is the index and ``offset``."""

    id: str
    offset: int
    numbers: tuple[int, ...]


def read(output_dir: Path, digest: str) -> list[Array]:
    """The arrays of this plan; none where the record is of another one, or damaged."""
    recorded, arrays = _read(output_dir)
    return arrays if recorded == digest else []


def write(output_dir: Path, digest: str, arrays: Sequence[Array]) -> None:
    rows = [[array.id, array.offset, list(array.numbers)] for array in arrays]
    write_json(output_dir / RECORD_NAME, {"digest": digest, "arrays": rows})


def remove(output_dir: Path) -> None:
    (output_dir / RECORD_NAME).unlink(missing_ok=True)


def refuse_living(output_dir: Path, digest: str, environment: dict[str, str], *, resume: bool) -> None:
    """Raises DataError if arrays of another plan, or of results that are not to be kept, still live in the folder."""
    recorded, arrays = _read(output_dir)
    if not arrays or (recorded == digest and resume):
        return
    ids = [array.id for array in arrays]
    where, hint = str(output_dir), f"end them (scancel {' '.join(ids)}), or choose another --output_dir"
    try:
        answer = Call(squeue_command(ids), client_environment(environment)).wait()
    except OSError:
        what = f"arrays {', '.join(ids)} of Slurm may still write here, and squeue is not on this machine"
        raise DataError(what, where=where, hint=f"if they have ended, remove {output_dir / RECORD_NAME}") from None
    named = ", ".join(ids)
    if answer.is_unreachable:
        raise DataError(f"Slurm does not say whether its arrays {named} are still writing here", where=where, hint=hint)
    if any(not element.has_ended for element in read_squeue(answer.output).values()):
        raise DataError(f"arrays {named} of Slurm, of an earlier plan, still write here", where=where, hint=hint)
    remove(output_dir)


def _read(output_dir: Path) -> tuple[str, list[Array]]:
    try:
        content = json.loads((output_dir / RECORD_NAME).read_text(encoding="utf-8"))
        arrays = [Array(str(id), int(offset), tuple(map(int, numbers))) for id, offset, numbers in content["arrays"]]
        return str(content["digest"]), [array for array in arrays if array.id.isdecimal()]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", []
