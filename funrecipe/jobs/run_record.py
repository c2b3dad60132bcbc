"""What a decoding run left behind about its utterances and workers, for scorers and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from funrecipe.jobs.plan import PLAN_NAME, read_plan
from funrecipe.jobs.results import read_done
from funrecipe.jobs.shards import ShardEntry


@dataclass(frozen=True)
class WorkerRecord:
    """What one worker decoded, and how long that took it."""

    number: int
    utterances: int
    audio_s: float
    decode_s: float


@dataclass(frozen=True)
class RunRecord:
    """All of it is empty where there is no plan."""

    data_dir: Path | None = None
    entries: dict[str, ShardEntry] = field(default_factory=dict)
    durations_s: dict[str, float] = field(default_factory=dict)
    workers: Sequence[WorkerRecord] = ()
    summary: dict[str, str] = field(default_factory=dict)


def read_run_record(plan_path: Path | str | None) -> RunRecord:
    """``plan_path``: ``plan.json`` or its folder; None or a path where nothing is gives an empty record."""
    if plan_path is None:
        return RunRecord()
    path = Path(plan_path)
    if not path.exists() or (path.is_dir() and not (path / PLAN_NAME).exists()):
        return RunRecord()
    plan = read_plan(path)
    entries = {entry.id: entry for job in plan.jobs for entry in job.utterances}
    durations_s: dict[str, float] = {}
    workers = []
    for job in plan.jobs:
        done = read_done(plan.shard_folder(job.number) / "done")
        durations_s.update((key, entry.audio_s) for key, entry in done.items())
        audio_s, decode_s = (sum(getattr(e, name) for e in done.values()) for name in ("audio_s", "decode_s"))
        workers.append(WorkerRecord(job.number, len(done), audio_s, decode_s))
    return RunRecord(Path(plan.data_dir), entries, durations_s, workers, plan.summary())
