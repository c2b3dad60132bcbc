"""Workers that are forked from the process that loaded the model: how each ends is known, and they share its memory."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from funrecipe.jobs.forked import ForkedWorkers, groups_of
from funrecipe.processes import PARENT_VARIABLE

# A process that loads: what its workers do is in the names of their jobs.
LOADER = """
import argparse, os, pathlib, sys, time
from funrecipe.errors import DataError
from funrecipe.jobs import forked
from funrecipe.processes import end_with_parent

parser = argparse.ArgumentParser()
parser.add_argument("--processes", type=int)
parser.add_argument("--report_fd", type=int)
parser.add_argument("--job", action="append")
parser.add_argument("--load")
args = parser.parse_args()

def load(plan):
    print("loading")
    if args.load == "fail":
        raise DataError("no model")
    if args.load == "crash":
        raise RuntimeError("a defect")
    while args.load == "wait":
        time.sleep(0.1)
    return b"\\1" * 200_000_000, "cpu"

def run_jobs(plan, jobs, load, log_dir):
    try:
        weights, device = load(plan)
    except DataError as error:
        print(error)
        return 3
    assert len(weights) == 200_000_000
    pathlib.Path(plan, f"{jobs[0]}.started").write_text(str(os.getpid()))
    while "wait" in jobs[0] and not pathlib.Path(plan, "go").exists():
        time.sleep(0.05)
    return 7 if "fail" in jobs[0] else 0

forked.run_jobs, forked.check_code = run_jobs, lambda plan: None
end_with_parent()
sys.exit(forked.run_forked(os.getcwd(), args.job, load, None, args.processes, args.report_fd))
"""


def start(tmp_path: Path, jobs: list[str], processes: int, load: str = "well") -> ForkedWorkers:
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{LOADER}", f"--load={load}"]
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "OMP_NUM_THREADS": "1"}
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = root
    return ForkedWorkers([*command, *(f"--job={job}" for job in jobs)], environment, tmp_path / "log", processes)


def until(condition, timeout_s: float = 60.0):
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return value


def codes(family: ForkedWorkers) -> list[int | None]:
    return [worker.poll() for worker in family.workers]


def all_ended(family: ForkedWorkers) -> list[int | None] | None:
    found = codes(family)
    return None if None in found else found


def started(tmp_path: Path, *jobs: str) -> bool:
    return all((tmp_path / f"{job}.started").exists() for job in jobs)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def pss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def test_jobs_are_dealt_in_turns() -> None:
    assert groups_of([1, 2, 3, 4, 5], 2) == [[1, 3, 5], [2, 4]]


def test_every_worker_has_its_own_exit_code_and_what_was_loaded(tmp_path: Path) -> None:
    family = start(tmp_path, ["a", "b.fail", "c"], 3)
    assert until(lambda: all_ended(family)) == [0, 7, 0]
    assert family._loader.returncode == 7, "waited for"
    assert (tmp_path / "log").read_text() == "loading\n" * 3


def test_workers_share_the_memory_of_what_was_loaded(tmp_path: Path) -> None:
    family = start(tmp_path, ["a.wait", "b.wait", "c.wait", "d.wait"], 4)
    until(lambda: started(tmp_path, "a.wait", "b.wait", "c.wait", "d.wait"))
    codes(family)
    taken = sum(pss_bytes(worker.pid) for worker in family.workers)
    (tmp_path / "go").touch()
    assert taken < 300_000_000, "four workers with 200 MB of weights"
    assert until(lambda: all_ended(family)) == [0, 0, 0, 0]


def test_a_killed_worker_leaves_the_others_at_work(tmp_path: Path) -> None:
    family = start(tmp_path, ["a.wait", "b.wait"], 2)
    until(lambda: started(tmp_path, "a.wait", "b.wait"))
    codes(family)
    os.killpg(family.workers[0].pid, signal.SIGKILL)
    assert until(lambda: codes(family)[0]) == -signal.SIGKILL
    assert codes(family)[1] is None
    (tmp_path / "go").touch()
    assert until(lambda: all_ended(family)) == [-signal.SIGKILL, 0]


def test_no_worker_outlives_the_process_that_loaded(tmp_path: Path) -> None:
    family = start(tmp_path, ["a.wait", "b.wait"], 2)
    until(lambda: started(tmp_path, "a.wait", "b.wait"))
    codes(family)
    pids = [worker.pid for worker in family.workers]
    family._loader.kill()
    assert until(lambda: all_ended(family)) == [-signal.SIGKILL, -signal.SIGKILL]
    until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(("load", "code", "said"), [("fail", 3, "no model"), ("crash", 1, "a defect")])
def test_an_error_of_loading_is_that_of_every_worker(tmp_path: Path, load: str, code: int, said: str) -> None:
    family = start(tmp_path, ["a", "b"], 2, load)
    assert until(lambda: all_ended(family)) == [code, code]
    assert said in (tmp_path / "log").read_text()


def test_a_worker_that_is_stopped_while_the_model_loads_ends_them_all(tmp_path: Path) -> None:
    family = start(tmp_path, ["a", "b"], 2, "wait")
    until(lambda: (tmp_path / "log").exists())
    os.killpg(family.workers[1].pid, signal.SIGKILL)
    assert until(lambda: all_ended(family)) == [-signal.SIGKILL, -signal.SIGKILL]
