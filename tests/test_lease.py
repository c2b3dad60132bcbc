"""Folders that several machines share: their lock, and files that are seen late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from funrecipe import lease, shared_files
from funrecipe.errors import DataError
from funrecipe.lease import NAME, Holder, Lease, read_holder
from funrecipe.processes import is_held, only_run_in
from funrecipe.shared_files import is_shared, seen_late

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNRECIPE_SHARED_FILES", "true")
    monkeypatch.setattr(shared_files, "LATE_S", (0.01, 0.01))


def elsewhere(folder: Path, *, age_s: float) -> Holder:
    """The lease of a process of another machine."""
    holder = replace(Lease(folder, os.getpid()).holder, host="n7", machine="another", token="t")
    (folder / NAME).write_text(json.dumps(asdict(holder)))
    now = time.time()
    os.utime(folder / NAME, (now - age_s, now - age_s))
    return holder


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_has_one_run_at_a_time_and_is_free_after_it(tmp_path: Path) -> None:
    second = pytest.raises(DataError, match=rf"another run works in this folder \(process {os.getpid()} on")
    with only_run_in(tmp_path):
        assert is_held(tmp_path)
        with second, only_run_in(tmp_path):
            pass
    assert not is_held(tmp_path) and not (tmp_path / NAME).exists()
    with only_run_in(tmp_path):
        pass


def test_a_lease_of_another_machine_counts_while_it_is_touched(tmp_path: Path) -> None:
    elsewhere(tmp_path, age_s=lease.STALE_S / 2)
    with pytest.raises(DataError, match="on n7"), only_run_in(tmp_path):
        pass
    assert is_held(tmp_path)
    elsewhere(tmp_path, age_s=lease.STALE_S * 2)
    assert not is_held(tmp_path)
    with only_run_in(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == os.getpid()


def test_a_lease_of_this_machine_ends_with_its_process(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from funrecipe.processes import only_run_in\n"
    code += "with only_run_in(Path(sys.argv[1])): print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=ROOT)  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(DataError, match=f"process {holder.pid}"), only_run_in(tmp_path):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / NAME).exists() and not is_held(tmp_path)
    with only_run_in(tmp_path):
        pass


def test_a_process_with_the_id_of_an_earlier_one_is_not_taken_for_it(tmp_path: Path) -> None:
    other = replace(Lease(tmp_path, os.getpid()).holder, started="1", token="t")
    (tmp_path / NAME).write_text(json.dumps(asdict(other)))
    with only_run_in(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", '{"pid": 3}', "[]"])
def test_a_lease_that_cannot_be_read_goes_by_its_age(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    os.utime(tmp_path / NAME, (time.time() - 5, time.time() - 5))
    with pytest.raises(DataError, match="unknown process"), only_run_in(tmp_path):
        pass
    os.utime(tmp_path / NAME, (0, 0))
    with only_run_in(tmp_path):
        pass


def test_who_finds_another_lease_than_the_stale_one_puts_it_back(tmp_path: Path) -> None:
    stale = elsewhere(tmp_path, age_s=1000)
    fresh = elsewhere(tmp_path, age_s=0)
    fresh = replace(fresh, token="fresh")
    (tmp_path / NAME).write_text(json.dumps(asdict(fresh)))
    Lease(tmp_path, os.getpid())._move_away(stale)
    assert read_holder(tmp_path) == fresh


def test_of_many_that_find_a_stale_lease_one_takes_it(tmp_path: Path) -> None:
    elsewhere(tmp_path, age_s=1000)
    code = "import os, sys; from pathlib import Path; from funrecipe.lease import *; sys.stdin.readline()\n"
    code += "try: Lease(Path(sys.argv[1]), os.getpid()).acquire(); print('mine', flush=True)\n"
    code += "except HeldError: print('held', flush=True)\nsys.stdin.readline()"
    many = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, cwd=ROOT) for _ in range(6)]  # fmt: skip
    for process in many:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in many if process.stdout is not None]
    for process in many:
        process.communicate(b"\n")
    assert sorted(said) == [b"held\n"] * 5 + [b"mine\n"]


def test_a_holder_whose_lease_was_taken_over_stops(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from funrecipe import lease; lease.BEAT_S = 0.05\n"
    code += "from funrecipe.processes import only_run_in\n"
    code += "with only_run_in(Path(sys.argv[1])): print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    before = (tmp_path / NAME).stat().st_mtime
    wait_for(lambda: (tmp_path / NAME).stat().st_mtime > before)  # it is touched
    (tmp_path / NAME).rename(tmp_path / "moved")
    elsewhere(tmp_path, age_s=0)
    holder.wait(timeout=60)  # with its standard input open, whose end would end it too
    _, errors = holder.communicate()
    assert holder.returncode == -signal.SIGTERM and b"another run has taken over" in errors
    taken = read_holder(tmp_path)
    assert taken is not None and taken.host == "n7"


def test_a_recipe_holds_the_lease_for_its_commands_and_drops_it_when_it_is_killed(tmp_path: Path) -> None:
    recipe, folder = tmp_path / "recipe.sh", tmp_path / "run"
    recipe.write_text(f'source {ROOT}/utils/recipe.sh\nonly_run_in "$1"\nrun_python -c "$2" "$1"\n')
    command = "import sys; from pathlib import Path; from funrecipe.processes import only_run_in\n"
    command += "with only_run_in(Path(sys.argv[1])): print('inside', flush=True); input()"
    process = subprocess.Popen(["bash", str(recipe), str(folder), command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env={**os.environ, "PYTHON": sys.executable})  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"inside\n"
    holder = read_holder(folder)
    assert holder is not None and holder.pid == process.pid
    with pytest.raises(DataError, match=f"process {process.pid}"), only_run_in(folder):
        pass
    process.kill()
    process.communicate()
    assert not is_held(folder)
    wait_for(lambda: not (folder / NAME).exists())  # by the process that touches it


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ext4", False), ("overlay", False), ("nfs4", True), ("lustre", True), ("fuse.sshfs", True), ("fuseblk", False)],
)
def test_the_type_of_a_file_system_decides(kind: str, expected: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("FUNRECIPE_SHARED_FILES")
    mounts = tmp_path / "mountinfo"
    place = str(tmp_path / "a b").replace(" ", "\\040")
    lines = [
        "22 1 8:1 / / rw shared:1 - nfs server:/ rw",
        f"23 22 0:5 / {tmp_path} rw - ext4 x rw",
        f"24 23 0:6 / {place} rw - tmpfs x rw",
        f"25 23 0:7 / {place} rw master:3 - {kind} x rw",
    ]
    mounts.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(shared_files, "MOUNTS", mounts)
    (tmp_path / "a b").mkdir()
    assert is_shared(tmp_path / "a b" / "c") is expected
    assert not is_shared(tmp_path / "a bc") and is_shared(Path("/elsewhere"))


def test_what_is_not_there_yet_is_waited_for_on_shared_file_systems_only(tmp_path: Path, monkeypatch) -> None:
    calls: list[int] = []

    def look() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise DataError("not there")
        return "found"

    assert seen_late(tmp_path, look) == "found"
    monkeypatch.setenv("FUNRECIPE_SHARED_FILES", "false")
    calls.clear()
    with pytest.raises(DataError):
        seen_late(tmp_path, look)
    assert len(calls) == 1
