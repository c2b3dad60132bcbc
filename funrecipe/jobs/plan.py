"""``plan.json``: all that a worker or a back end needs to know about a run.

A plan has a *digest* over everything that a result depends on: the utterances and how they are split, the model's
files, the decoding options, the code. The same digest resumes where a run stopped; another digest sets the earlier
shards aside in ``output.stale.<digest>/``. Devices, threads and the batch size are not part of it, since results do
not depend on them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import funrecipe
from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text
from funrecipe.jobs.results import RESULTS
from funrecipe.jobs.shards import ShardEntry
from funrecipe.jobs.wording import count

PLAN_NAME = "plan.json"
FORMAT = 1
# The parts of the package whose code can change a hypothesis.
RESULT_CODE = ("audio", "decode", "models", "text/*.py", "model_folder*.py", "checkpoint.py")


@dataclass(frozen=True)
class ModelRecord:
    """The model of a run: base folder, the weights in use (which may lie elsewhere), SHA-256 of what matters."""

    path: str
    weights: str
    fingerprint: dict[str, str]
    weights_stamp: str
    sample_rate_hz: int = 16000
    frames_per_second: float = 100 / 6

    @property
    def weights_sha256(self) -> str:
        return self.fingerprint["weights"]


@dataclass(frozen=True)
class Job:
    """One shard. ``gpu`` is the id to make visible to its process, None for the CPU."""

    number: int
    utterances: tuple[ShardEntry, ...]
    gpu: str | None = None

    @property
    def cost_s(self) -> float:
        return sum(utterance.cost_s for utterance in self.utterances)

    @property
    def stamps(self) -> dict[str, str]:
        """id -> stamp of its audio"""
        return {utterance.id: utterance.stamp for utterance in self.utterances}


@dataclass(frozen=True)
class Plan:
    """See the module. ``output_dir`` is the folder of the plan file, so a run may be moved or mounted elsewhere."""

    output_dir: Path
    data_dir: str
    model: ModelRecord
    options: dict[str, Any]
    jobs: tuple[Job, ...]
    threads: int
    max_running: int
    batch_size: int
    code: str = ""
    audio_fs: int | None = None
    allow_pipes: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        return self.output_dir / PLAN_NAME

    @property
    def digest(self) -> str:
        content = {
            "format": FORMAT,
            "code": self.code,
            "options": self.options,
            "audio_fs": self.audio_fs,
            "model": self.model.fingerprint,
            # Not the stamps: a repaired file makes its own line stale (see ShardWriter), not the whole run.
            "jobs": [[(u.id, u.audio, u.start_s, u.end_s) for u in job.utterances] for job in self.jobs],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def num_utterances(self) -> int:
        return sum(len(job.utterances) for job in self.jobs)

    def summary(self) -> dict[str, str]:
        """What a score should say about the run that it belongs to."""
        summary = {
            "model": self.model.path,
            "weights": self.model.weights,
            "weights_sha256": self.model.weights_sha256,
            "code": self.code,
            "plan": self.digest,
        }
        return summary | {f"option.{name}": str(value) for name, value in self.options.items()}

    def job(self, number: int) -> Job:
        if not 1 <= number <= len(self.jobs):
            raise UsageError(
                f"there is no job {number} in the plan", where=str(self.path), hint=f"jobs are 1 to {len(self.jobs)}"
            )
        return self.jobs[number - 1]

    def shard_folder(self, number: int) -> Path:
        return self.output_dir / f"output.{number}"

    def log_path(self, number: int) -> Path:
        return self.output_dir / "log" / f"decode.{number}.log"

    def write(self) -> None:
        content = asdict(self) | {"format": FORMAT, "digest": self.digest}
        del content["output_dir"]
        content["jobs"] = [
            {"number": job.number, "gpu": job.gpu, "utterances": [u.to_json() for u in job.utterances]}
            for job in self.jobs
        ]
        write_text(self.path, json.dumps(content, ensure_ascii=False) + "\n")


def read_plan(path: Path) -> Plan:
    """Raises DataError if there is no plan, or it is damaged or of another version of the format."""
    path = path / PLAN_NAME if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        raise DataError(
            "there is no plan", where=str(path), hint="stage 1 of infer.sh (funrecipe shard) makes it"
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(f"not a plan: {error}", where=str(path), hint="run stage 1 again") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise DataError("the plan was made by another version of funrecipe", where=str(path), hint="run stage 1 again")
    try:
        plan, digest = _from_json(content, path.absolute().parent), content["digest"]
        changed = plan.digest != digest
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a plan: {error!r}", where=str(path), hint="run stage 1 again") from None
    if changed:
        raise DataError("the plan was changed after it was made", where=str(path), hint="run stage 1 again")
    return plan


def _from_json(content: dict[str, Any], output_dir: Path) -> Plan:
    jobs = tuple(Job(j["number"], tuple(ShardEntry(**u) for u in j["utterances"]), j["gpu"]) for j in content["jobs"])
    rest = {k: v for k, v in content.items() if k not in ("digest", "jobs", "model", "notes")}
    model = ModelRecord(**content["model"])
    return Plan(output_dir=output_dir, model=model, jobs=jobs, notes=tuple(content["notes"]), **rest)


def set_stale_aside(output_dir: Path, new_digest: str) -> Path | None:
    """Move the shards and results of an earlier, different plan out of the way; where they went, or None."""
    try:
        old = json.loads((output_dir / PLAN_NAME).read_text(encoding="utf-8", errors="surrogateescape"))
        old_digest = str(old["digest"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        old_digest = ""
    if not re.fullmatch("[0-9a-f]{64}", old_digest):  # it becomes part of a path
        old_digest = ""
    if old_digest == new_digest:
        return None
    # Every shard counts, whoever left it: without a plan that we know, nothing tells what it was made from.
    leftovers = [p for p in output_dir.glob("output.*") if p.suffix[1:].isdigit()]
    leftovers += [p for name in (RESULTS, "failed.scp", "log") if (p := output_dir / name).exists()]
    if not leftovers:
        return None
    aside = output_dir / f"output.stale.{old_digest[:12] or 'unknown'}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for path in leftovers:
        path.rename(aside / path.name)
    return aside


def fingerprint(files: dict[str, Path | None], values: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by name: of files by content, of parsed values (configuration, tokens) by their canonical JSON."""
    digests = {
        name: hashlib.sha256(
            json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogateescape")
        ).hexdigest()
        for name, value in values.items()
    }
    for name, path in files.items():
        if path is not None:
            with open(path, "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(1 << 20):
                    digest.update(block)
            digests[name] = digest.hexdigest()
    return digests


def code_version() -> str:
    """The version, and a digest of the sources that results depend on."""
    package = Path(funrecipe.__file__).parent
    digest = hashlib.sha256()
    for pattern in RESULT_CODE:
        for path in sorted(package.glob(pattern if pattern.endswith(".py") else f"{pattern}/**/*.py")):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{funrecipe.__version__}+{digest.hexdigest()[:12]}"


def describe(jobs: Sequence[Job], threads: int, max_running: int) -> str:
    """How the work will be laid out, in one line."""
    if jobs and jobs[0].gpu is not None:
        where = "GPU " + ",".join(str(job.gpu) for job in jobs)
    else:
        where = "CPU"
    at_once = "" if max_running >= len(jobs) else f", {max_running} at once"
    return f"{count(len(jobs), 'job')} on {where}{at_once}, {count(threads, 'thread')} each"
