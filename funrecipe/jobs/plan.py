"""A plan: all that a worker or a back end needs to know about a run.

``plan.json`` is its header; the utterances are in one list per shard, ``split/shard.N.jsonl``, so that a worker reads
only its own, however long the whole is. The header names each list by its SHA-256.

A plan has two digests. Its *digest* is its identity, over everything that a result depends on: the utterances with the
stamps of their audio and how they are split, the contents of the model's files, the decoding options, the code. Every
later step is given it and refuses another plan's. Its *work digest* leaves out the stamps: a plan with the same one
resumes where the other stopped, since a repaired file makes its own line stale and not the whole run. Devices,
threads and the batch size are in neither, since results do not depend on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from funrecipe.audio.settings import AudioSettings
from funrecipe.errors import DataError, UsageError
from funrecipe.families import RECOGNITION
from funrecipe.files import write_json
from funrecipe.identity import value_digest
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.shards import ShardEntry

PLAN_NAME = "plan.json"
FORMAT = 2
AGAIN = "run stage 1 again (with the same options as before it resumes, and takes seconds if all is decoded)"


@dataclass(frozen=True)
class Job:
    """One shard: its number, its size, the digests of its list with and without the stamps of the audio."""

    number: int
    num_utterances: int
    cost_s: float
    digest: str
    work_digest: str


@dataclass(frozen=True)
class Plan:
    """The header of a plan.

    Attributes:
        output_dir: the folder of the plan file, so a run may be moved or mounted elsewhere.
        options: the decoding options that were asked for; the rest is as the model's ``decoding.yaml`` says.
        task: one of ``families.TASKS``.
        device: ``cpu``, ``cuda``, or ``auto`` (a GPU where the worker finds one). The back end chooses which GPU.
        gpuid_list: indices of the GPUs that were asked for, for a back end that chooses them itself.
        ncpu: threads of a worker that were asked for; None: as many as it is given cores.
        audio: how the audio is read; its fields stand in ``plan.json`` beside the others.
    """

    output_dir: Path
    data_dir: str
    model: ModelRecord
    options: dict[str, Any]
    jobs: tuple[Job, ...]
    batch_size: int
    device: str = "cpu"
    gpuid_list: str = ""
    ncpu: int | None = None
    code: str = ""
    audio: AudioSettings = AudioSettings()
    task: str = RECOGNITION

    @property
    def path(self) -> Path:
        return self.output_dir / PLAN_NAME

    @property
    def digest(self) -> str:
        return value_digest(self._content([job.digest for job in self.jobs]))

    @property
    def work_digest(self) -> str:
        return value_digest(self._content([job.work_digest for job in self.jobs]))

    def _content(self, lists: Sequence[str]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "code": self.code,
            "options": self.options,
            "audio_fs": self.audio.audio_fs,
            "channel": self.audio.channel,
            "task": self.task,
            "model": self.model.fingerprint,
            "lists": lists,
        }

    @property
    def num_utterances(self) -> int:
        return sum(job.num_utterances for job in self.jobs)

    def summary(self) -> dict[str, str]:
        """What a score reports about its run."""
        summary = {
            "model": self.model.path,
            "weights": self.model.weights,
            "weights_sha256": self.model.weights_sha256,
            "code": self.code,
            "plan": self.digest,
        }
        if self.audio.channel != 1:
            summary["channel"] = str(self.audio.channel)
        return summary | {f"option.{name}": str(value) for name, value in self.options.items()}

    def job(self, number: int) -> Job:
        if not 1 <= number <= len(self.jobs):
            raise UsageError(
                f"job {number} is not in the plan", where=str(self.path), hint=f"give a job from 1 to {len(self.jobs)}"
            )
        return self.jobs[number - 1]

    def entries(self, number: int) -> list[ShardEntry]:
        """The utterances of one shard, in byte order of their ids.

        Raises:
            DataError: the list is missing, or not the one that the header names.
        """
        return [ShardEntry.of_row(row) for row in self._rows(number)]

    def stamps(self, number: int) -> dict[str, str]:
        """id -> stamp of its audio, for the utterances of one shard. Raises as ``entries``."""
        return {row[0]: row[-1] for row in self._rows(number)}

    def _rows(self, number: int) -> list[list[Any]]:
        path = self.output_dir / "split" / f"shard.{number}.jsonl"
        try:
            with open(path, "rb") as file:
                lines = file.readlines()
            digest = hashlib.sha256(b"".join(map(digest_line, lines))).hexdigest()
            rows = json.loads(f"[{b','.join(lines).decode('utf-8', 'surrogateescape')}]")  # faster than line by line
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"not a list of a plan: {error}", where=str(path), hint="run stage 1 again") from None
        if digest != self.job(number).digest:
            raise DataError("the list is not the one of this plan", where=str(path), hint=AGAIN)
        return rows

    def shard_folder(self, number: int) -> Path:
        return self.output_dir / f"output.{number}"

    def log_path(self, number: int) -> Path:
        return self.output_dir / "log" / f"decode.{number}.log"


def digest_line(line: bytes) -> bytes:
    """A line of a list as digests count it: characters beyond ASCII are escaped."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return json.dumps(json.loads(line.decode("utf-8", "surrogateescape"))).encode() + b"\n"


def work_line(line: bytes) -> bytes:
    """The same as work digests count it: without the duration and the stamp."""
    return line.rsplit(b", ", 2)[0] + b"]\n"


def write_header(plan: Plan) -> None:
    """Write ``plan.json``, when the lists of the jobs are in place."""
    header = asdict(plan)
    del header["output_dir"]
    header |= header.pop("audio")
    write_json(plan.path, {"digest": plan.digest, "work_digest": plan.work_digest, "format": FORMAT} | header)


def read_plan(path: Path, digest: str | None = None) -> Plan:
    """The header of a plan: ``plan.json``, or the folder that holds it.

    Raises:
        DataError: no plan, it is damaged, of another version of the format, or not the one of ``digest``.
    """
    path = path / PLAN_NAME if path.is_dir() else path
    header = _read_header(path)
    try:
        plan = _from_header(header, path.absolute().parent)
        is_whole = plan.digest == header["digest"]
    except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
        raise DataError(f"not a plan: {error!r}", where=str(path), hint="run stage 1 again") from None
    if not is_whole:
        raise DataError("the plan was changed after it was made", where=str(path), hint="run stage 1 again")
    if digest and not plan.digest.startswith(digest):
        raise DataError(
            f"the plan here is {plan.digest[:12]}, not {digest[:12]}: another run has replaced it",
            where=str(path),
            hint="choose another --output_dir for one of the two, or run stage 1 again",
        )
    return plan


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        hint = "run stage 1 of infer.sh (funrecipe plan)"
        raise DataError("no plan", where=str(path), hint=hint) from None
    except OSError as error:
        raise DataError(f"cannot read the plan: {error.strerror}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a plan: {error}", where=str(path), hint="run stage 1 again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError("the plan was made by another version of funrecipe", where=str(path), hint="run stage 1 again")
    return header


def _from_header(header: dict[str, Any], output_dir: Path) -> Plan:
    rest = {k: v for k, v in header.items() if k not in ("digest", "work_digest", "format", "jobs", "model")}
    audio = AudioSettings(**{field.name: rest.pop(field.name) for field in fields(AudioSettings)})
    jobs = tuple(Job(**job) for job in header["jobs"])
    return Plan(output_dir=output_dir, model=ModelRecord(**header["model"]), jobs=jobs, audio=audio, **rest)
