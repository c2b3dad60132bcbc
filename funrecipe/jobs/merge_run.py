"""Publish the results of a run: what ``funrecipe merge`` does."""

from __future__ import annotations

from pathlib import Path

from funrecipe.audio.channels import channels_note
from funrecipe.families import WITH_TEXTS
from funrecipe.files import remove_leftovers
from funrecipe.jobs.plan import read_plan
from funrecipe.jobs.results import RESULTS, UNFINISHED, MergeReport, merge_shards
from funrecipe.processes import only_run_in
from funrecipe.score.scoring import warning_of_empty
from funrecipe.shared_files import seen_late


def merge_run(plan_path: Path, digest: str | None = None, *, max_failed: int = 0) -> list[str]:
    """Publish ``1best_recog`` of a plan; lines about it for the user.

    Raises:
        DataError: no plan, or another one than ``digest``; another run works in the folder.
        IncompleteRunError: as :func:`merge_shards`.
    """
    plan = read_plan(plan_path, digest)

    def merge() -> MergeReport:
        shards = ((plan.shard_folder(job.number), plan.stamps(job.number)) for job in plan.jobs)
        return merge_shards(shards, plan.output_dir, max_failed=max_failed, digest=plan.digest)

    with only_run_in(plan.output_dir):
        remove_leftovers(plan.output_dir)  # of merges that were killed
        report = seen_late(plan.output_dir, merge)
        (plan.output_dir / UNFINISHED).unlink(missing_ok=True)
    failed = f", {len(report.failed)} failed (see {plan.output_dir / 'failed.scp'})" if report.failed else ""
    num_decoded = report.num_utterances - len(report.failed)
    lines = [f"{num_decoded} of {report.num_utterances} utterances in {plan.output_dir / RESULTS}{failed}"]
    if report.num_multichannel:
        note = channels_note(report.num_multichannel, num_decoded, report.most_channels, plan.audio.channel)
        lines.append(f"note: {note}; --channel chooses another")
    warning = warning_of_empty(report.num_empty, num_decoded)
    if warning and plan.task not in WITH_TEXTS:  # there an empty text gives an empty result
        lines.append(warning)
    return lines
