"""One bar for a whole run on a terminal; otherwise a plain line at intervals (in a log file, in a job queue)."""

from __future__ import annotations

import shutil
import sys
import time

from tqdm import tqdm

LINE_EVERY_S = 30.0


def format_duration(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 20 s`` or ``12.3 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


class ProgressBar:
    """Context manager; ``update(finished, failed, notice)`` takes totals, not increments."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._is_terminal = sys.stderr.isatty()
        # From shutil, because tqdm writes nothing on a terminal that reports 0 columns (containers, CI).
        columns, rows = shutil.get_terminal_size()
        self._bar = tqdm(
            total=total, unit="utt", ncols=columns, nrows=rows, disable=not self._is_terminal, file=sys.stderr
        )
        self._started = self._last_line = time.monotonic()
        self._at_start: int | None = None
        self._noticed = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, finished: int, failed: int, notice: str = "") -> None:
        if self._at_start is None:
            self._at_start = finished
            self._bar.initial = finished
        if self._is_terminal:
            self._bar.n = finished
            said = [f"{failed} failed"] if failed else []
            self._bar.set_postfix_str(", ".join(said + ([notice] if notice else [])), refresh=False)
            self._bar.refresh()
            return
        now = time.monotonic()
        is_new = bool(notice) and not self._noticed
        self._noticed = bool(notice)
        if is_new or now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            line = self._line(finished, failed, now - self._started)
            print(f"{line}; {notice}" if notice else line, file=sys.stderr, flush=True)

    def _line(self, finished: int, failed: int, elapsed_s: float) -> str:
        line = f"{finished} of {self.total} utterances"
        if failed:
            line += f", {failed} failed"
        fresh = finished - (self._at_start or 0)
        if fresh:
            line += f", about {format_duration((self.total - finished) * elapsed_s / fresh)} left"
        return line
