"""``funrecipe merge``: join the outputs of the shards, or refuse when an utterance is not accounted for."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="plan.json, or the folder that holds it")
    parser.add_argument("--digest", help="refuse any plan but this one")
    parser.add_argument(
        "--max_failed",
        type=int,
        default=0,
        metavar="N",
        help="publish if at most N utterances could not be decoded (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    from funrecipe.audio.channels import channels_note
    from funrecipe.files import leftovers
    from funrecipe.jobs.plan import read_plan
    from funrecipe.jobs.results import RESULTS, UNFINISHED, MergeReport, merge_shards
    from funrecipe.processes import only_run_in
    from funrecipe.score.scoring import warning_of_empty
    from funrecipe.shared_files import seen_late

    plan = read_plan(args.plan, args.digest)

    def merge() -> MergeReport:
        shards = ((plan.shard_folder(job.number), plan.stamps(job.number)) for job in plan.jobs)
        return merge_shards(shards, plan.output_dir, max_failed=args.max_failed, digest=plan.digest)

    with only_run_in(plan.output_dir):
        for unfinished in leftovers(plan.output_dir):  # of merges that were killed
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
        report = seen_late(plan.output_dir, merge)
        (plan.output_dir / UNFINISHED).unlink(missing_ok=True)
    failed = f", {len(report.failed)} failed (see {plan.output_dir / 'failed.scp'})" if report.failed else ""
    num_decoded = report.num_utterances - len(report.failed)
    print(f"{num_decoded} of {report.num_utterances} utterances in {plan.output_dir / RESULTS}{failed}")
    if report.num_multichannel:
        note = channels_note(report.num_multichannel, num_decoded, report.most_channels, plan.audio.channel)
        print(f"note: {note}; --channel chooses another")
    if warning := warning_of_empty(report.num_empty, num_decoded):
        print(warning)
