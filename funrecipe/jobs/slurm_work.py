"""What jobs of Slurm run, and how they are submitted.

``SlurmWork`` is the contract of ``SlurmBackend``; the shards of a plan are one, with an element of an array each. What
is submitted are arrays of the cluster's size, by calls of ``sbatch``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from funrecipe.jobs.backend import consecutive, worker_command
from funrecipe.jobs.backend_options import SlurmOptions
from funrecipe.jobs.memory import worker_memory_bytes
from funrecipe.jobs.plan import Plan
from funrecipe.jobs.results import is_shard_accounted_for
from funrecipe.jobs.slurm_states import ADVICE

# The worker's log is opened here and not by Slurm, whose names of logs cannot count beyond an array's indices.
SCRIPT = """\
#!/bin/bash
# One element of an array: arguments are what to add to its index, working directory, folder of the logs, command.
number=$(($1 + SLURM_ARRAY_TASK_ID))
folder=$2
logs=$3
shift 3
exec >> "$logs/decode.$number.log" 2>&1 || exit 5
cd "$folder" || exit 5
exec "$@" --job "$number"
"""


@dataclass(frozen=True)
class Request:
    """What a job asks for: nodes, and on each of them cores, memory (``4G``) and other resources (``gpu:1``).

    Attributes:
        threads: of each process.
    """

    cpus: int
    threads: int
    mem: str
    gres: str = ""
    nodes: int = 1


class SlurmWork(Protocol):
    """Numbered jobs of one identity in one folder.

    Attributes:
        output_dir: where the record of the jobs is, and ``log/`` with the script.
        digest: what a record must agree with for its jobs to be taken over.
        script: the text of the batch script.
        advice: state of Slurm -> what the user can do about it.
    """

    @property
    def output_dir(self) -> Path: ...

    @property
    def digest(self) -> str: ...

    @property
    def script(self) -> str: ...

    @property
    def advice(self) -> Mapping[str, str]: ...

    def arguments(self, offset: int) -> Sequence[str]:
        """Arguments of the script; the number of a job is the index of its element plus ``offset``."""
        ...

    def request(self, slurm: SlurmOptions) -> Request: ...

    def log_path(self, number: int) -> Path: ...

    def status_folder(self, number: int) -> Path:
        """Where the job says how far it is, and how it ended."""
        ...

    def is_done(self, number: int) -> bool:
        """Whether the job has succeeded by its files, for a job that Slurm no longer lists."""
        ...


@dataclass(frozen=True)
class DecodingWork:
    """The shards of a plan."""

    plan: Plan
    script: str = SCRIPT
    advice: Mapping[str, str] = field(default_factory=lambda: ADVICE)

    @property
    def output_dir(self) -> Path:
        return self.plan.output_dir

    @property
    def digest(self) -> str:
        return self.plan.digest

    def arguments(self, offset: int) -> list[str]:
        return [str(offset), os.getcwd(), str(self.output_dir / "log"), *worker_command(self.plan, [])]

    def request(self, slurm: SlurmOptions) -> Request:
        plan = self.plan
        gres = slurm.gres or ("gpu:1" if plan.device == "cuda" and not slurm.asks_for_gpus else "")
        memory = slurm.mem or f"{-(-worker_memory_bytes(Path(plan.model.weights).stat().st_size) // 1_000_000)}M"
        return Request(slurm.cpus or plan.ncpu or 1, plan.ncpu or slurm.cpus or 1, memory, gres)

    def log_path(self, number: int) -> Path:
        return self.plan.log_path(number)

    def status_folder(self, number: int) -> Path:
        return self.plan.shard_folder(number)

    def is_done(self, number: int) -> bool:
        return is_shard_accounted_for(self.plan.shard_folder(number), self.plan.stamps(number))


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
    runs = consecutive(number - submission.offset for number in submission.numbers)
    indices = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
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
