"""Which numbers a setting may be; stated beside its default, in every table of settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from funrecipe.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Finite numbers from ``low`` to ``high``.

    Attributes:
        excludes_low: ``low`` itself is not one of them.
        is_whole: only integers are; 16000.0 is one.
    """

    low: float
    high: float = math.inf
    excludes_low: bool = False
    is_whole: bool = False

    def has(self, value: Any) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        is_finite = isinstance(value, int) or math.isfinite(value)
        is_inside = self.low < value if self.excludes_low else self.low <= value
        return is_finite and is_inside and value <= self.high and (not self.is_whole or value == value // 1)

    def __str__(self) -> str:
        kind = "an integer" if self.is_whole else "a number"
        if self.low == -math.inf:
            return "a finite number"
        if self.excludes_low:
            return f"{kind} above {self.low:g}" + (f", up to {self.high:g}" if self.high < math.inf else "")
        return f"{kind} " + (
            f"from {self.low:g} to {self.high:g}" if self.high < math.inf else f"of {self.low:g} or more"
        )

    def check(self, name: str, value: Any, where: str | None = None) -> None:
        """Raises UsageError unless ``value`` is one of these numbers."""
        if not self.has(value):
            raise UsageError(f"{name} is {value!r:.60}", where=where, hint=f"give {self}")


ANY = Range(-math.inf)
SHARE = Range(0, 1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, excludes_low=True)
COUNT = Range(0, is_whole=True)
AT_LEAST_ONE = Range(1, is_whole=True)
THREADS = Range(1, 1024, is_whole=True)  # of a process; it ends without a word where more cannot be started
