"""A process that answers requests: what its caller gets when it does not."""

from __future__ import annotations

import pytest

from funrecipe.coprocess import Coprocess
from funrecipe.errors import WorkerError


@pytest.mark.parametrize("module", ["platform", "asyncio"], ids=["prints a line", "says nothing"])
def test_whoever_waits_is_told_that_there_will_be_no_answer(module: str) -> None:
    """``platform`` prints ``Linux-...``, which pickle reads as a number that is not one."""
    process = Coprocess(module, settings=None, does="counts")
    with pytest.raises(WorkerError, match=r"a process that counts has ended \(status -?\d+\)"):
        process.ask(1).result(timeout=60)
    process.end()
