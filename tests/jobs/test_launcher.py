"""The back end for launchers of Kaldi's kind, and utils/run.sh, which has their command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from funrecipe.errors import UsageError
from funrecipe.jobs.backend import consecutive
from funrecipe.jobs.launcher import split_launcher

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "utils/run.sh"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(RUN), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_arguments_reach_the_command_as_they_are_and_the_word_is_replaced_alone(tmp_path: Path) -> None:
    arguments = ["JOB", '$HOME "q"  ;|&', "JOBS/aJOB", "/a/JOB/b.JOB.c", "'", "", "*"]
    show = "import sys; print(sys.argv[1:])"
    done = run("--mem", "4G", "JOB=2:3", "log/x y.JOB.log", sys.executable, "-c", show, *arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    for number in ("2", "3"):
        log = (tmp_path / f"log/x y.{number}.log").read_text().splitlines()
        assert log[3] == str([number, arguments[1], arguments[2], f"/a/{number}/b.{number}.c", *arguments[4:]])
        assert log[1].startswith("# Started at") and log[4].startswith("# Accounting: time=")
        assert log[5].startswith("# Ended (code 0) at")


def test_a_failing_job_is_counted_and_its_log_named(tmp_path: Path) -> None:
    done = run("N=1:4", "log/x.N.log", "bash", "-c", "exit $1", "x", "N", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "run.sh: 4 / 4 failed, log is in log/x.*.log\n")
    assert "# Ended (code 3) at" in (tmp_path / "log/x.3.log").read_text()


def test_one_command_needs_no_number(tmp_path: Path) -> None:
    assert run("log/x.log", "true", cwd=tmp_path).returncode == 0
    assert "# Ended (code 0)" in (tmp_path / "log/x.log").read_text()


@pytest.mark.parametrize(
    "arguments",
    [[], ["x.log"], ["JOB=0:2", "x.JOB.log", "true"], ["JOB=2:1", "x.JOB.log", "true"], ["JOB=1:2", "x.log", "true"],
     ["--max-jobs-run", "0", "x.log", "true"], ["--mem"]],
)  # fmt: skip
def test_a_wrong_call_starts_nothing(tmp_path: Path, arguments: list[str]) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "do: run.sh" in done.stderr and not list(tmp_path.iterdir())


def test_no_more_jobs_run_than_were_asked_for(tmp_path: Path) -> None:
    script = "mkdir one || exit 1; sleep 0.1; rmdir one"
    assert run("--max-jobs-run", "1", "JOB=1:3", "log/x.JOB.log", "bash", "-c", script, cwd=tmp_path).returncode == 0


def test_ending_the_script_ends_what_its_jobs_started(tmp_path: Path) -> None:
    script = "sleep 300 & echo $! > pid.$1; wait"
    process = subprocess.Popen(
        [str(RUN), "--max-jobs-run", "2", "JOB=1:2", "log/x.JOB.log", "bash", "-c", script, "x", "JOB"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    pids = [tmp_path / "pid.1", tmp_path / "pid.2"]
    deadline = time.monotonic() + 60
    while not all(path.exists() and path.read_text().strip() for path in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    for path in pids:
        while Path(f"/proc/{path.read_text().strip()}/cmdline").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_consecutive_jobs_are_one_call() -> None:
    assert consecutive([7, 1, 2, 3]) == [range(1, 4), range(7, 8)] and consecutive([]) == []


@pytest.mark.parametrize(
    ("launcher", "said"), [("", "needs --launcher"), ("a 'b", "cannot split"), ("nope.pl", "not a")]
)
def test_a_launcher_that_cannot_be_called_is_named(launcher: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        split_launcher(launcher)


def infer(tmp_path: Path, output: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "egs/asr/infer.sh", "--model", "tests/data/parity/paraformer", "--data_dir",
               str(tmp_path / "data"), "--output_dir", str(tmp_path / output), "--njob", "2", "--gpu_inference",
               "false", *arguments]  # fmt: skip
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_a_recipe_by_a_launcher_gives_the_results_of_a_local_one_and_resumes_a_failure(tmp_path: Path) -> None:
    source, data = ROOT / "egs/quickstart/data", tmp_path / "data"
    data.mkdir()
    for name in ("text", "wav.scp"):
        lines = (source / name).read_text().splitlines()[:4]
        (data / name).write_text("".join(line.replace(" wav/", f" {source}/wav/") + "\n" for line in lines))
    broken = tmp_path / "first_only.sh"  # the queue loses the second job
    broken.write_text(f'#!/bin/bash\n"{RUN}" JOB=1:1 "${{@:2}}"\necho queue: gone >&2\nexit 1\n')
    broken.chmod(0o755)
    failed = infer(tmp_path, "out", "--backend", "launcher", "--launcher", str(broken))
    assert failed.returncode == 5 and "1 of 2 jobs failed" in failed.stderr and "launcher.log" in failed.stderr
    assert not (tmp_path / "out/1best_recog").exists()
    done = infer(tmp_path, "out", "--backend", "launcher", "--launcher", f"{RUN} --max-jobs-run 1 --mem 4G")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "JOB=2:2" in (tmp_path / "out/log/launcher.log").read_text()
    assert infer(tmp_path, "local").returncode == 0
    for name in ("text", "token", "text.cer"):
        assert (tmp_path / "out/1best_recog" / name).read_bytes() == (
            tmp_path / "local/1best_recog" / name
        ).read_bytes()


def test_a_folder_that_a_launcher_would_take_for_shell_is_refused(tmp_path: Path) -> None:
    data = ROOT / "egs/quickstart/data"
    (tmp_path / "data").symlink_to(data)
    done = infer(tmp_path, "$(touch pwned)", "--backend", "launcher", "--launcher", str(RUN))
    assert done.returncode == 2 and "that launchers interpret" in done.stderr
