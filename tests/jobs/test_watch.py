"""``funrecipe status --watch``: as long as the run, and with its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from funrecipe.cli import main
from funrecipe.jobs import progress, watch
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.plan import Plan, write_header
from funrecipe.jobs.results import ShardWriter
from funrecipe.jobs.shards import ShardEntry
from funrecipe.jobs.split import Draft
from funrecipe.jobs.status import JobStatus, write_status
from funrecipe.processes import only_run_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Of two jobs, of which nothing is decoded."""
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "model.pb").write_bytes(b"x")
    with Draft(out) as draft:
        draft.fill([ShardEntry(f"u{n}", f"/{n}.wav") for n in range(4)])
        jobs = draft.split(2)
        draft.publish(out / "split")
    plan = Plan(out, "", ModelRecord("", str(tmp_path / "model.pb"), {"weights": "0"}), {}, jobs, batch_size=1)
    write_header(plan)
    return plan


def report(plan: Plan, *codes: int | None, done: int = 2, failed: int = 0) -> None:
    for job, code in zip(plan.jobs, codes):
        plan.shard_folder(job.number).mkdir(exist_ok=True)
        write_status(plan.shard_folder(job.number), JobStatus(done, failed, 2, 1.0, code))


def decode_and_merge(plan: Plan) -> None:
    for job in plan.jobs:
        with ShardWriter(plan.shard_folder(job.number), plan.stamps(job.number)) as writer:
            for key in plan.stamps(job.number):
                writer.write(key, tokens=["x"], text="x", score=0.0, audio_s=1.0, decode_s=0.1)
    report(plan, 0, 0)
    assert main(["merge", "--plan", str(plan.output_dir)]) == 0


@pytest.mark.parametrize(
    ("codes", "done", "failed", "code", "said"),
    [
        ((0, 0), 2, 0, 0, "run the same command again"),  # left to Slurm: nothing merges
        ((0, 5), 1, 0, 5, "1 of 2 jobs failed"),
        ((3, 3), 0, 0, 3, "2 of 2 jobs failed"),
        ((0, 130), 1, 0, 130, "2 of 4 utterances are decoded"),
        ((0, 0), 1, 1, 4, "2 of 4 utterances failed"),
        ((0, None), 2, 0, 4, "4 of 4"),
        ((None, None), 0, 0, 4, "0 of 4 utterances decoded"),
    ],
)
def test_a_run_that_has_ended_gives_its_exit_code(plan, capsys, codes, done, failed, code: int, said: str) -> None:
    report(plan, *codes, done=done, failed=failed)
    assert main(["status", str(plan.output_dir), "--watch"]) == code
    assert said in "".join(capsys.readouterr())


def test_a_run_is_watched_as_long_as_it_holds_its_folder(plan: Plan, capfd) -> None:
    report(plan, 5, None, done=1)  # of an earlier launch
    code: list[int] = []
    with only_run_in(plan.output_dir):
        watcher = threading.Thread(target=lambda: code.append(main(["status", str(plan.output_dir), "--watch"])))
        watcher.start()
        watcher.join(0.5)
        assert watcher.is_alive()
        report(plan, None, None, done=1)
    # The lock is free for a moment here, as between two runs: nothing was published.
    watcher.join(60)
    assert code == [4] and "2 of 4 utterances" in capfd.readouterr().err
    decode_and_merge(plan)
    assert main(["status", str(plan.output_dir), "--watch"]) == 0
    assert "4 of 4 decoded, 0 failed" in capfd.readouterr().out


def test_the_plan_is_waited_for_while_a_run_makes_it(plan: Plan, capfd) -> None:
    plan.path.rename(plan.output_dir / "hidden")
    assert main(["status", str(plan.output_dir), "--watch"]) == 3  # nobody makes it
    assert "no plan" in capfd.readouterr().err
    code: list[int] = []
    with only_run_in(plan.output_dir):
        watcher = threading.Thread(target=lambda: code.append(main(["status", str(plan.output_dir), "--watch"])))
        watcher.start()
        watcher.join(0.5)
        (plan.output_dir / "hidden").rename(plan.path)
        report(plan, 0, 0)
    watcher.join(60)
    assert code == [0]


def test_arrays_of_slurm_are_waited_for(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was left: nobody holds the lock."""
    monkeypatch.setattr(watch, "ASK_SLURM_S", 0.0)
    home = tmp_path / "fake"
    (home / "bin").mkdir(parents=True)
    (home / "bin/squeue").symlink_to(Path(__file__).with_name("fake_slurm.py"))
    (home / "arrays.json").write_text("[[1, 2]]")
    states = {"0": {"1": ["PENDING||Priority", "RUNNING|n1|", "COMPLETED|n1|"], "2": ["COMPLETED|n1|"]}}
    (home / "scenario.json").write_text(json.dumps({"states": states}))
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    watch.slurm_record.write(plan.output_dir, plan.digest, [watch.slurm_record.Array("100", 0, (1, 2))])
    report(plan, 0, 0)
    assert main(["status", str(plan.output_dir), "--watch"]) == 0
    assert len((home / "calls.jsonl").read_text().splitlines()) == 3


def test_a_terminal_shows_a_bar(plan: Plan) -> None:
    report(plan, 0, 0)
    main_end, other_end = os.openpty()
    command = [sys.executable, "-m", "funrecipe", "status", str(plan.output_dir), "--watch"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=other_end, timeout=60)
    os.close(other_end)
    assert done.returncode == 0 and b"4/4" in os.read(main_end, 10_000)
    os.close(main_end)


def test_only_a_rate_that_adds_up_is_shown(plan: Plan, tmp_path: Path, capsys) -> None:
    decode_and_merge(plan)
    data, results = tmp_path / "data", plan.output_dir / "1best_recog"
    data.mkdir()
    (data / "text").write_text("".join(f"u{n} {'x' if n else 'y'}\n" for n in range(4)))
    assert main(["score", "--results", str(results), "--data_dir", str(data)]) == 0
    for name, old, new in (
        ("text.cer", "%WER 25.00", "%WER 25.00"),
        ("text.cer", "[ 1 / 4", "[ 0 / 4"),
        ("text.cer.json", '"errors": 1', '"errors": 0'),
        ("text.cer.json", "{", "["),
    ):
        whole = (results / name).read_text("utf-8")
        (results / name).write_text(whole.replace(old, new, 1), "utf-8")
        capsys.readouterr()
        assert main(["status", "--data_dir", str(data), "--", str(plan.output_dir)]) == 0
        assert ("CER               25.00 % [ 1 / 4, " in capsys.readouterr().out) == (old == new)
        (results / name).write_text(whole, "utf-8")
