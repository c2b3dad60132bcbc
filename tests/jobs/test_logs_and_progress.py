"""What a log begins and ends with, which of its lines is shown, and what a run says while it goes on."""

from __future__ import annotations

import io
import os
import select
from pathlib import Path

import pytest

from funrecipe.errors import WriteError, count
from funrecipe.jobs import joblog, progress, stall
from funrecipe.jobs.progress import ProgressBar, format_duration
from funrecipe.jobs.stall import StallWatch
from funrecipe.jobs.status import JobStatus, read_status, write_status


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
        ("Traceback (most recent call last):\n", "no message in the log"),
        ("", "no message in the log"),
    ],
)
def test_the_line_that_tells_what_went_wrong(body: str, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "decode.1.log"
    earlier = joblog.header(["x"]) + "ValueError: of an earlier run\n" + joblog.trailer(1, 0.0)
    log.write_text(earlier + joblog.header(["x"]) + body + joblog.trailer(-9, 3.0))
    assert joblog.last_error_line(log) == expected


def test_a_worker_killed_before_its_first_word_has_not_the_reason_of_an_earlier_run(tmp_path: Path) -> None:
    log = tmp_path / "log/decode.1.log"
    joblog.begin(log)
    with open(log, "a") as file:
        file.write(joblog.header(["x"]) + "ValueError: of an earlier run\n" + joblog.trailer(1, 0.0))
    joblog.begin(log)
    with open(log, "a") as file:
        file.write(joblog.trailer(-9, 0.0))
    assert joblog.last_error_line(log) == "no message in the log"


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    log = tmp_path / "decode.1.log"
    log.symlink_to("/dev/full")
    with pytest.raises(WriteError, match="No space left on device") as caught:
        joblog.begin(log)
    assert caught.value.where == str(log)


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


def test_a_job_without_progress_is_named_and_then_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0, 30.0, 30.0, 85.0, 85.0, 85.0, 200.0, 200.0, 200.0, 210.0])
    monkeypatch.setattr(stall.time, "monotonic", lambda: next(clock))
    watch = StallWatch(timeout_s=150.0)
    busy, idle = JobStatus(done=1), JobStatus(done=4)
    watch.update([1, 2], {1: busy, 2: idle})
    watch.update([1, 2], {1: JobStatus(done=2), 2: idle})  # at 30 s
    assert watch.notice() == "" and watch.to_be_ended() == []
    watch.update([1, 2], {1: JobStatus(done=3), 2: idle})  # at 85 s
    assert watch.notice() == "job 2: no progress for 1 min 25 s" and watch.to_be_ended() == []
    watch.update([1, 2], {1: JobStatus(done=4), 2: idle})  # at 200 s
    assert watch.to_be_ended() == [2] and watch.stalled() == {2: 200.0}
    watch.update([1], {1: JobStatus(done=4)})
    assert watch._since.keys() == {1}


def test_a_notice_is_said_at_once_and_then_with_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0, 40.0])
    stream = io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys, "stderr", stream)
    bar = ProgressBar(100)
    for seconds in (None, 55, 56, 93):
        bar.update(20, 0, f"job 3: no progress for {seconds}.0 s" if seconds else "")
    assert stream.getvalue().splitlines() == [
        "20 of 100 utterances; job 3: no progress for 55.0 s",
        "20 of 100 utterances; job 3: no progress for 93.0 s",
    ]


def test_a_damaged_heartbeat_is_none(tmp_path: Path) -> None:
    write_status(tmp_path, JobStatus(done=3))
    assert read_status(tmp_path).done == 3
    for damaged in ('{"done": "3"}', '{"done"', "[]", "null", '{"unknown": 1}', "\0" * 9, '{"done": [1]}'):
        (tmp_path / "progress.json").write_text(damaged)
        assert read_status(tmp_path) == JobStatus()
