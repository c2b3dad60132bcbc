"""Workers that make no progress are first named, then ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from funrecipe.jobs.progress import format_duration
from funrecipe.jobs.status import JobStatus

NOTICE_S = 50.0


@dataclass
class StallWatch:
    """Notices by this machine's clock when what a running job reports does not change; other clocks may differ.

    Attributes:
        timeout_s: time without progress after which a job is to be ended; 0: never.
    """

    timeout_s: float
    _since: dict[int, tuple[JobStatus, float]] = field(default_factory=dict)

    def update(self, running: Collection[int], statuses: Mapping[int, JobStatus]) -> None:
        now = time.monotonic()
        self._since = {number: since for number, since in self._since.items() if number in running}
        for number in running:
            status = statuses.get(number, JobStatus())
            if number not in self._since or self._since[number][0] != status:
                self._since[number] = (status, now)

    def stalled(self, at_least_s: float = NOTICE_S) -> dict[int, float]:
        """Job -> seconds without progress, the longest first."""
        now = time.monotonic()
        found = {number: now - since for number, (_, since) in self._since.items() if now - since >= at_least_s}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def to_be_ended(self) -> list[int]:
        return list(self.stalled(self.timeout_s)) if self.timeout_s else []

    def notice(self) -> str:
        """What the progress line says about it; empty: nothing."""
        stalled = self.stalled()
        if not stalled:
            return ""
        number, seconds = next(iter(stalled.items()))
        more = f" (and {len(stalled) - 1} more jobs)" if len(stalled) > 1 else ""
        return f"job {number}: no progress for {format_duration(seconds)}{more}"
