"""Watching a run from another process: its files tell the progress, its lock and Slurm whether it still runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from funrecipe.errors import IncompleteRunError, Interrupted
from funrecipe.jobs import slurm_record
from funrecipe.jobs.backend import Outcome
from funrecipe.jobs.launch import failure
from funrecipe.jobs.plan import PLAN_NAME, Plan, read_plan
from funrecipe.jobs.progress import ProgressBar
from funrecipe.jobs.results import UNFINISHED, too_many_failed
from funrecipe.jobs.run_record import digest_of_results
from funrecipe.jobs.shard_files import RESULTS
from funrecipe.jobs.status import JobStatus, read_status
from funrecipe.processes import is_held

LOOK_S, LOOK_PER_JOB_S = 1.0, 0.01
ASK_SLURM_S = 30.0
PIECES = "pieces"  # where a run over recordings decodes


class Watch:
    """A run in ``folder``: its recipe holds the lock, or it was left and its jobs are Slurm's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked = -ASK_SLURM_S
        self._is_in_slurm = False

    def until_it_ends(self) -> Plan:
        """Show a bar on a terminal, plain lines elsewhere; the plan of the run that has ended.

        Raises:
            DataError: nothing has been planned in the folder. FunrecipeError: what the run has ended with.
        """
        plan = self._plan()
        statuses: dict[int, JobStatus] = {}
        with ProgressBar(plan.num_utterances) as bar:
            while True:
                is_alive = self.is_alive()
                for job in plan.jobs:
                    if job.number not in statuses or statuses[job.number].code != 0:
                        statuses[job.number] = read_status(plan.shard_folder(job.number))
                failed = sum(status.failed for status in statuses.values())
                bar.update(sum(status.done for status in statuses.values()) + failed, failed)
                if not is_alive:
                    break
                time.sleep(LOOK_S + LOOK_PER_JOB_S * sum(status.code != 0 for status in statuses.values()))
        plan = self._plan()  # of another run, if another one has begun and ended in the meantime
        _raise_for_end(plan)
        return plan

    def is_alive(self) -> bool:
        """Whether somebody works on the run, or Slurm will."""
        if is_held(self.folder):
            return True
        if not any((folder / slurm_record.RECORD_NAME).exists() for folder in (self.folder, self.folder / PIECES)):
            return False
        if time.monotonic() - self._asked >= ASK_SLURM_S:
            self._asked = time.monotonic()
            folders = (self.folder, self.folder / PIECES)
            self._is_in_slurm = any(slurm_record.lives(folder, dict(os.environ)) for folder in folders)
        return self._is_in_slurm

    def _plan(self) -> Plan:
        """The plan of the run, which it may still be making."""
        while True:
            found = [folder for folder in (self.folder, self.folder / PIECES) if (folder / PLAN_NAME).exists()]
            if found:
                return read_plan(found[0])
            if not self.is_alive():
                return read_plan(self.folder)  # raises, and says why
            time.sleep(LOOK_S)


def is_published(plan: Plan) -> bool:
    results = plan.output_dir / RESULTS
    return digest_of_results(results) == plan.digest and not (plan.output_dir / UNFINISHED).exists()


def _raise_for_end(plan: Plan) -> None:
    """The error with which the run has ended, by its files."""
    if is_published(plan):
        return
    statuses = {job.number: read_status(plan.shard_folder(job.number)) for job in plan.jobs}
    codes = {number: status.code for number, status in statuses.items() if status.code not in (None, 0)}
    num_done, num_failed = (sum(getattr(status, name) for status in statuses.values()) for name in ("done", "failed"))
    where, hint = str(plan.output_dir), "run the same command again to resume"
    if Interrupted.exit_code in codes.values():
        raise Interrupted(f"the run was stopped, {num_done} of {plan.num_utterances} utterances are decoded", hint=hint)
    if codes:
        failed = [plan.job(number) for number in codes]
        raise failure(plan, failed, len(plan.jobs), {number: Outcome(code or 1) for number, code in codes.items()})
    if num_failed:
        raise too_many_failed(num_failed, f"{plan.num_utterances} utterances", where=plan.output_dir)
    if num_done < plan.num_utterances or any(status.code is None for status in statuses.values()):
        raise IncompleteRunError(
            f"the run has ended with {num_done} of {plan.num_utterances} utterances decoded", where=where, hint=hint
        )
