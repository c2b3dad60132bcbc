"""What is submitted to Slurm: arrays of the cluster's size, and the call of ``sbatch``."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.jobs.backend_options import SlurmOptions
from funrecipe.jobs.slurm_client import index_list
from funrecipe.jobs.slurm_work import SlurmWork


@dataclass(frozen=True)
class Submission:
    numbers: tuple[int, ...]
    offset: int
    avoid: frozenset[str] = frozenset()  # nodes on which these jobs failed


def split(numbers: Sequence[int], size: int, avoid: frozenset[str] = frozenset()) -> list[Submission]:
    """By arrays of the cluster's size; an index and its array's offset give the job."""
    parts: dict[int, list[int]] = {}
    for number in sorted(numbers):
        parts.setdefault((number - 1) // size * size, []).append(number)
    return [Submission(tuple(part), offset, avoid) for offset, part in parts.items()]


def new_name(digest: str) -> str:
    """A name that no other array has, by which it can be found before its number is known."""
    return f"funrecipe-{digest[:8]}-{secrets.token_hex(4)}"


def sbatch_command(
    work: SlurmWork, slurm: SlurmOptions, submission: Submission, name: str, at_once: str, script: Path
) -> list[str]:
    """``at_once``: the part of ``--array`` that says how many elements may run at once."""
    request = work.request(slurm)
    indices = index_list(number - submission.offset for number in submission.numbers)
    named = {
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.time,
        "gres": request.gres,
        "constraint": slurm.constraint,
        "exclude": ",".join(filter(None, [slurm.exclude, *sorted(submission.avoid)])),
        "mem": "" if any(entry.startswith("--mem-per") for entry in slurm.extra) else request.mem,
    }
    return [
        *("sbatch", "--parsable", f"--array={indices}{at_once}"),
        *(f"--nodes={request.nodes}", f"--ntasks={request.nodes}", f"--cpus-per-task={request.cpus}"),
        f"--job-name={name}",
        *("--requeue", "--export=ALL", "--chdir=/", "--output=/dev/null", "--error=/dev/null"),
        *(f"--{name}={value}" for name, value in named.items() if value),
        *slurm.extra,
        str(script),
        *work.arguments(submission.offset),
    ]
