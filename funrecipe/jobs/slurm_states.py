"""What Slurm's states and reasons mean for a run, and what the user can change."""

from __future__ import annotations

import re
from collections.abc import Mapping

from funrecipe.jobs.slurm_client import Element

# What no waiting cures: held jobs, and requests that no node, account or partition will ever grant.
_FOR_EVER = re.compile(
    r"JobHeld|.*held state|.*requeued[ _]held|launch[ _]failed|DependencyNeverSatisfied|Invalid|BadConstraints|"
    r"AccountNotAllowed|QOSNotAllowed|Partition(Config|NodeLimit|TimeLimit)|ReservationDeleted|AssocGrpLimit$|"
    r"(Assoc|QOS)\w*(PerJob|PerNode|Minutes|WallDuration)\w*",
    re.IGNORECASE,
)
# Limits of the account: others' jobs may end and make room, but budgets may also be spent.
_LIMIT = re.compile(r"Assoc|QOS")
# Exit code of a job whose step, not its script, was killed for memory: the state of the job is then FAILED.
STEP_OUT_OF_MEMORY = 137
FORGOTTEN = "FORGOTTEN"  # our word for what Slurm does not name any more
ADVICE: Mapping[str, str] = {
    "OUT_OF_MEMORY": "raise 'mem' in --backend_opts, or lower --batch_size",
    "TIMEOUT": "raise 'time' in --backend_opts, or use more jobs (--njob)",
    "DEADLINE": "raise 'time' in --backend_opts, or use more jobs (--njob)",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "jobs of a higher priority took its place",
    "CANCELLED": "someone ended it (scancel)",
    FORGOTTEN: "Slurm no longer knows it; it may have been canceled while it waited",
}
_RETRIED = frozenset(["FAILED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED"])


def is_for_ever(reason: str) -> bool:
    return bool(_FOR_EVER.match(reason))


def is_limit(reason: str) -> bool:
    return bool(_LIMIT.match(reason))


def is_worth_a_retry(element: Element) -> bool:
    """False for what would end the same way again: too little memory or time, or a user's decision."""
    return element.state in _RETRIED


def explain(element: Element, advice: Mapping[str, str] = ADVICE, code: int | None = None) -> str:
    """An element that has ended, or that will never start, in a line."""
    on = f" on {element.node}" if element.node else ""
    if element.is_waiting:
        do = "see: squeue; change the settings in --backend_opts, or release it: scontrol release"
        return f"{element.state}: Slurm holds it ({element.reason}): {do}"
    if element.state == "FAILED" and code is not None:
        cause = f", {element.reason}" if element.reason not in ("", "NonZeroExitCode") else ""
        return f"exit code {code}{on}{cause}"
    cause = advice.get(element.state, element.reason)
    return f"{element.state}{on}" + (f": {cause}" if cause else "")
