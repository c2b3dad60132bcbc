"""What a decoding run recorded about its utterances and workers, for scores and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from funrecipe.data.in_order import Columns
from funrecipe.errors import DataError
from funrecipe.jobs.merge_files import merged_lines
from funrecipe.jobs.plan import AGAIN, PLAN_NAME, Plan, read_plan
from funrecipe.jobs.precision import decision_of
from funrecipe.jobs.results import DIGEST_NAME, UNFINISHED
from funrecipe.jobs.shard_files import RESULTS, parse_done, read_done
from funrecipe.jobs.shards import ShardEntry


@dataclass(frozen=True)
class RunRecord:
    """Empty if there is no plan."""

    data_dir: Path | None = None
    summary: dict[str, str] = field(default_factory=dict)
    plan: Plan | None = None

    def durations_s(self) -> Iterator[Columns[float]]:
        """Ids and seconds of audio of the decoded utterances, some at a time, in byte order of the ids."""
        paths = [path for _, path in self._done() if path.is_file()]
        for lines in merged_lines(paths):
            done = dict(parse_done(lines))
            yield [*done], [entry.audio_s for entry in done.values()]

    def workers(self) -> dict[int, tuple[float, float]]:
        """Seconds of audio and of decoding, by number of the job."""
        done = ((number, read_done(path).values()) for number, path in self._done())
        return {number: (sum(e.audio_s for e in d), sum(e.decode_s for e in d)) for number, d in done}

    def _done(self) -> Iterator[tuple[int, Path]]:
        if self.plan is not None:
            for job in self.plan.jobs:
                yield job.number, self.plan.shard_folder(job.number) / "done"

    def entries(self) -> dict[str, ShardEntry]:
        """The utterances of the plan by id."""
        if self.plan is None:
            return {}
        return {entry.id: entry for job in self.plan.jobs for entry in self.plan.entries(job.number)}


def read_run_record(plan_path: Path | str | None, digest: str | None = None) -> RunRecord:
    """The run of ``plan.json`` or its folder; None, or a path that does not exist, gives an empty record.

    Raises:
        DataError: the plan, or what is published, is not the one of ``digest``; or a later stage 1 did not end.
    """
    if plan_path is None:
        return RunRecord()
    path = Path(plan_path)
    if not path.exists() or (path.is_dir() and not (path / PLAN_NAME).exists()):
        return RunRecord()
    plan = read_plan(path, digest)
    check_published(plan)
    decision = decision_of(plan)
    precision = {"precision": str(decision).partition(": ")[2]} if decision else {}
    return RunRecord(Path(plan.data_dir), plan.summary() | precision, plan)


def check_published(plan: Plan) -> None:
    """Raises DataError if what is published is not the outcome of this plan's last stage 1."""
    if (plan.output_dir / UNFINISHED).exists():
        what = f"the last stage 1 in {plan.output_dir} did not finish, and the results there are older"
        raise DataError(what, where=str(plan.output_dir / RESULTS), hint=AGAIN)
    check_results(plan.output_dir / RESULTS, plan.digest)


def check_results(results: Path, digest: str) -> None:
    """Raises DataError if the folder says that its results are of another plan."""
    found = digest_of_results(results)
    if found and found != digest:
        raise DataError(f"the results are of plan {found[:12]}, not {digest[:12]}", where=str(results), hint=AGAIN)


def digest_of_results(results: Path) -> str:
    """The digest of the plan of published results; empty if they do not name it."""
    try:
        return (results / DIGEST_NAME).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
