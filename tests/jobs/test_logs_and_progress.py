"""What a log begins and ends with, which of its lines is shown, and what a run says while it goes on."""

from __future__ import annotations

import io
import os
import select
from pathlib import Path

import pytest

from funrecipe.jobs import joblog, progress
from funrecipe.jobs.progress import ProgressBar
from funrecipe.jobs.wording import count, format_duration


def test_head_and_foot_are_kaldis() -> None:
    head = joblog.header(["python", "a b", "$(x)"]).splitlines()
    assert head[0] == "# python 'a b' '$(x)'"
    assert head[1].startswith("# Running on ") and head[2].startswith("# Started at ")
    foot = joblog.trailer(7, 12.6).splitlines()
    assert foot[0].startswith("# Accounting: time=13 threads=")
    assert foot[1].startswith("# Ended (code 7) at ") and foot[1].endswith("elapsed time 13 seconds")
    assert "# Ended (code 0; signal 9) at " in joblog.trailer(-9, 1.0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "loading\nfunrecipe decode: DataError of a kind\n  at: /x\n  do: this\n",
            "funrecipe decode: DataError of a kind",
        ),
        ("Traceback (most recent call last):\n  File x\nRuntimeError: bad\nbye\n", "RuntimeError: bad"),
        ("loading\nhalf way\n", "half way"),
        ("", "no message in the log"),
    ],
)
def test_the_line_that_tells_what_went_wrong(body: str, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "decode.1.log"
    earlier = joblog.header(["x"]) + "ValueError: of an earlier run\n" + joblog.trailer(1, 0.0)
    log.write_text(earlier + joblog.header(["x"]) + body + joblog.trailer(-9, 3.0))
    assert joblog.last_error_line(log) == expected


def test_a_log_that_was_never_written(tmp_path: Path) -> None:
    assert joblog.last_error_line(tmp_path / "none") == "no log was written"


def test_without_a_terminal_a_line_now_and_then(monkeypatch) -> None:
    clock = iter([0.0, 10.0, 40.0, 50.0])
    stream = io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys, "stderr", stream)
    bar = ProgressBar(100)
    for finished, failed in [(20, 0), (60, 1), (70, 1)]:
        bar.update(finished, failed)
    # 40 utterances in 40 s, 40 to go; 20 of the 60 were there before.
    assert stream.getvalue() == "60 of 100 utterances, 1 failed, about 40.0 s left\n"


def test_wording() -> None:
    assert [format_duration(s) for s in (0.25, 59.9, 61, 3599, 3600, 90_000)] == [
        *("0.2 s", "59.9 s", "1 min 01 s", "59 min 59 s", "1 h 00 min", "25 h 00 min")
    ]
    assert (count(1, "job"), count(0, "job"), count(2, "thread")) == ("1 job", "0 jobs", "2 threads")


def test_on_a_terminal_one_bar_even_if_it_has_no_size(monkeypatch) -> None:
    leader, follower = os.openpty()  # 0 rows, 0 columns, as in a container
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(progress.sys, "stderr", terminal)
        with ProgressBar(100) as bar:
            bar.update(0, 0)
            bar.update(50, 2)
        shown = b""
        while select.select([leader], [], [], 0.5)[0]:
            shown += os.read(leader, 100_000)
    os.close(leader)
    assert b"50/100" in shown and b"2 failed" in shown
