"""A training as a job of Slurm, against commands that behave as Slurm's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_cluster import FakeCluster

from funrecipe.errors import DataError, FunrecipeError, UsageError, WorkerError
from funrecipe.jobs import slurm, slurm_record
from funrecipe.jobs.backend_options import BackendOptions
from funrecipe.jobs.slurm_nodes import launcher_command, main
from funrecipe.jobs.slurm_training import LOG_NAME, Training, _Shown, train_on_slurm
from funrecipe.jobs.status import JobStatus, write_status
from funrecipe.processes import RETRIED_VARIABLE


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """Whose job has said that it ended well."""
    training = Training(tmp_path / "out", ("--lr=0.1",), num_nodes=2)
    training.folder.mkdir(parents=True)
    monkeypatch.setattr(slurm, "clear_status", lambda folder: None)
    write_status(training.folder, JobStatus(code=0))
    return training


def settings(tmp_path: Path, text: str) -> BackendOptions:
    (tmp_path / "opts.yaml").write_text(text)
    return BackendOptions(tmp_path / "opts.yaml", max_retries=0)


def test_each_process_has_its_gpu_cores_and_memory(cluster: FakeCluster, tmp_path: Path, training: Training) -> None:
    options = settings(
        tmp_path,
        "mem: 4G\ncpus: 2\ngres: gpu:a100:1,nvme:1\ntime: 60\nqos: low\ntrain:\n  mem: 8G\n  time: 2-00:00:00\n",
    )
    train_on_slurm(Training(training.output_dir, ("--lr=0.1",), 2, num_gpus=4, max_restarts=3), options)
    (submitted,) = cluster.calls("sbatch")
    assert {"--nodes=2", "--ntasks=2", "--cpus-per-task=8", "--mem=32G", "--time=2-00:00:00", "--qos=low",
            "--gres=nvme:1,gpu:a100:4", "--array=1", "--requeue"} <= {*submitted}  # fmt: skip
    assert submitted[-7:-5] == ["--nproc-per-node=4", "--max-restarts=3"]
    assert submitted[-5:] == ["-m", "funrecipe", "train", "--num_gpus=4", "--lr=0.1"]
    assert not (training.output_dir / "slurm.json").exists()


def test_on_the_cpu_no_gpu_is_asked_for(cluster: FakeCluster, tmp_path: Path, training: Training) -> None:
    train_on_slurm(Training(training.output_dir, (), num_processes=3), settings(tmp_path, "gres: gpu:1"))
    (submitted,) = cluster.calls("sbatch")
    assert {"--nodes=1", "--cpus-per-task=3", "--mem=30G"} <= {*submitted}
    assert not any(word.startswith("--gres") for word in submitted)


@pytest.mark.parametrize(
    ("state", "code", "kind", "said"),
    [
        ("FAILED|n1|NonZeroExitCode", 3, DataError, "exit code 3 on n1"),
        ("FAILED|n1|NonZeroExitCode", 134, WorkerError, "exit code 134"),
        ("FAILED|n1|NonZeroExitCode", 137, WorkerError, "OUT_OF_MEMORY on n1: raise 'mem'"),
        ("TIMEOUT|n[1-2]|TimeLimit", None, WorkerError, "raise 'time' under 'train'"),
        ("OUT_OF_MEMORY|n1|OutOfMemory", None, WorkerError, "lower --batch_bins"),
        ("PENDING||PartitionConfig", None, WorkerError, "Slurm holds it"),
        ("COMPLETED|n1|None", None, WorkerError, "it did not"),
    ],
)
def test_how_it_failed_is_said_with_the_last_error(
    cluster: FakeCluster, tmp_path: Path, training: Training, monkeypatch, state: str, code: int | None,
    kind: type[FunrecipeError], said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("funrecipe.jobs.slurm_training.LATE_FILES_S", (0.0,))
    cluster.says(states={"0": {"1": ["RUNNING|n1|None", state]}})
    write_status(training.folder, JobStatus(code=code))
    with pytest.raises(kind) as caught:
        train_on_slurm(training, settings(tmp_path, ""))
    assert said in caught.value.what and str(training.log_path(1)) in str(caught.value)


def test_a_job_that_was_left_is_taken_over_by_the_same_command_only(
    cluster: FakeCluster, tmp_path: Path, training: Training
) -> None:
    (cluster.folder / "arrays.json").write_text("[[1]]")
    cluster.says(states={"0": {"1": ["RUNNING|n1|None"] * 4 + ["COMPLETED|n1|None"]}})
    slurm_record.write(training.output_dir, training.digest, [slurm_record.Array("100", 0, (1,))])
    with pytest.raises(DataError, match="of another command are still writing here"):
        train_on_slurm(Training(training.output_dir, ("--lr=0.2",), num_nodes=2), settings(tmp_path, ""))
    train_on_slurm(training, settings(tmp_path, ""))
    assert not cluster.calls("sbatch")


def test_a_job_that_was_left_and_has_finished_is_not_run_again(cluster, tmp_path: Path, training: Training) -> None:
    slurm_record.write(training.output_dir, training.digest, [slurm_record.Array("100", 0, (1,))])
    train_on_slurm(training, settings(tmp_path, ""))
    assert not cluster.calls("sbatch") and not (training.output_dir / "slurm.json").exists()


def test_a_retry_is_told_that_it_is_one(cluster: FakeCluster, training: Training) -> None:
    for states, expected in (({}, None), ({"1": {"1": ["NODE_FAIL|n1|None"]}}, "1")):
        cluster.says(states=states)
        train_on_slurm(training, BackendOptions(max_retries=1))
        assert json.loads((cluster.folder / "environment.json").read_text()).get(RETRIED_VARIABLE) == expected
    assert len(cluster.calls("sbatch")) == 3


def test_what_the_log_gains_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / LOG_NAME
    log.write_text("of an earlier run\n")
    shown = _Shown(log)
    for text, notice in (("# head\none\ntw", "1 job waiting"), ("o\n", "silent, 3 s"), ("", "silent, 4 s"), ("", "")):
        with open(log, "a") as file:
            file.write(text)
        shown.update(notice)
    assert capsys.readouterr().err == "one\n1 job waiting\ntwo\nsilent, 3 s\n"


@pytest.mark.parametrize("text", ["train: 4", "train:\n  memory: 4G", "train:\n  train: {}"])
def test_mistakes_in_the_settings_of_trainings_are_named(tmp_path: Path, training: Training, cluster, text) -> None:
    with pytest.raises(UsageError, match="train"):
        train_on_slurm(training, settings(tmp_path, text))


def test_a_launcher_on_each_node_meets_the_others_on_the_first() -> None:
    job = {"SLURM_JOB_ID": "12345"}
    assert "--standalone" in launcher_command(job, [])
    two = launcher_command({**job, "SLURM_JOB_NUM_NODES": "2", "SLURM_RESTART_COUNT": "1"}, ["--lr=0.1"], "n7")
    assert {"--nnodes=2", "--rdzv-id=12345.1", "--rdzv-endpoint=n7:20345", "--kill-on-bad-exit=1"} <= {*two}
    assert two[-1] == "--lr=0.1"


@pytest.mark.parametrize(
    ("ends", "srun_code", "code", "said"),
    [
        # One lost its partner, a little earlier than the other wrote why; srun ends with the highest.
        ([(0, 5, "another rank died", True, 10), (1, 3, "no such file", False, 11)], 143, 3, "1 ended first: no such"),
        ([(0, 0, "", False, 10), (1, 0, "", False, 10)], 0, 0, ""),
        ([(0, 0, "", False, 10)], 0, 5, "1 of 2 nodes did not report how they ended"),  # as srun does when one is gone
        ([], 1, 1, ""),
        ([(1, 137, "Signal 9", False, 10)], 137, 5, "1 ended first: Signal 9"),
        ([(1, 137, "Signal 9", False, 10)], 255, 137, "used more memory than it was given"),
    ],
)
def test_the_end_of_the_job_is_what_ended_first(
    tmp_path: Path, monkeypatch, capsys, ends: list[tuple], srun_code: int, code: int, said: str
) -> None:
    monkeypatch.setattr("funrecipe.jobs.slurm_nodes.LATE_FILES_S", 0)
    lines = [json.dumps(dict(zip(("rank", "code", "message", "is_consequence", "time_s"), end))) for end in ends]
    writes = "".join(f"echo '{line}' > $FUNRECIPE_ENDS/{node}.json\n" for node, line in enumerate(lines))
    said_by_slurm = "echo 'slurmstepd-n1: error: Detected 1 oom-kill event(s) in x' >&2\n" if srun_code == 255 else ""
    (tmp_path / "srun").write_text(f"#!/bin/sh\n{writes}{said_by_slurm}exit {srun_code}\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho n1\necho n2\n")
    (tmp_path / "scontrol").chmod(0o755)
    assert main([str(tmp_path / "log")]) == code
    assert said in capsys.readouterr().out
    assert json.loads((tmp_path / "log/progress.json").read_text())["code"] == code
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["progress.json"]
