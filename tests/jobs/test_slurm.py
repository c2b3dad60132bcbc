"""The back end of Slurm against commands that behave as Slurm's, whose every answer a scenario decides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_cluster import FakeCluster

from funrecipe.errors import DataError, UsageError
from funrecipe.jobs import slurm, slurm_record, slurm_work
from funrecipe.jobs.backend_options import BackendOptions, read_slurm_options
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.slurm_client import Answer, read_squeue
from funrecipe.jobs.slurm_states import is_for_ever
from funrecipe.jobs.slurm_work import DecodingWork
from funrecipe.jobs.status import JobStatus, write_status

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, 4)


def plan_of(tmp_path: Path, num_jobs: int, **rest: object) -> Plan:
    weights = tmp_path / "model.pb"
    weights.write_bytes(b"1" * 1000)
    model = ModelRecord(str(tmp_path), str(weights), {"weights": "0" * 64})
    jobs = tuple(Job(number, 1, 1.0, "d", "w") for number in range(1, num_jobs + 1))
    output_dir = tmp_path / "out"
    (output_dir / "log").mkdir(parents=True, exist_ok=True)
    for job in jobs:
        (output_dir / f"output.{job.number}").mkdir(exist_ok=True)
    return Plan(output_dir=output_dir, data_dir="", model=model, options={}, jobs=jobs, batch_size=1, **rest)


def run(plan: Plan, jobs: list[int] | None = None, **options: object) -> slurm.SlurmBackend:
    backend = started(plan, jobs, **options)
    wait(backend, lambda: False)
    return backend


def started(plan: Plan, jobs: list[int] | None = None, **options: object) -> slurm.SlurmBackend:
    numbers = [job.number for job in plan.jobs] if jobs is None else jobs
    backend = slurm.SlurmBackend(DecodingWork(plan), numbers, BackendOptions(**options))
    backend.start()
    return backend


def wait(backend: slurm.SlurmBackend, condition) -> None:
    deadline = time.monotonic() + 60
    while backend.poll() and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def codes(backend: slurm.SlurmBackend) -> dict[int, int]:
    return {number: outcome.code for number, outcome in sorted(backend.outcomes.items())}


def test_unfinished_jobs_are_one_array(cluster: FakeCluster, plan: Plan) -> None:
    backend = run(plan, [1, 2, 4])
    assert codes(backend) == {1: 0, 2: 0, 4: 0}
    (submitted,) = cluster.calls("sbatch")
    assert "--array=1-2,4" in submitted and "--cpus-per-task=1" in submitted and "--requeue" in submitted
    assert submitted[-1] == f"--log_dir={plan.output_dir / 'log'}"
    assert not (plan.output_dir / "slurm.json").exists()


def test_arrays_are_no_larger_than_the_cluster_allows(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.says(max_array=4)
    (tmp_path / "opts.yaml").write_text("max_jobs: 6\n")
    backend = run(plan_of(tmp_path, 8), opts_file=tmp_path / "opts.yaml")
    assert codes(backend) == dict.fromkeys(range(1, 9), 0)
    arrays = [next(word for word in call if word.startswith("--array")) for call in cluster.calls("sbatch")]
    assert arrays == ["--array=1-3%2", "--array=1-3%2", "--array=1-2%2"]
    offsets = [call[call.index(str(tmp_path / "out/log/slurm.sh")) + 1] for call in cluster.calls("sbatch")]
    assert offsets == ["0", "3", "6"]


def test_settings_become_arguments_of_sbatch(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "config/funrecipe/slurm.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("partition: gpu\ntime: 12:00:00\nmem: 4G\ncpus: 3\nexclude: n9\nextra: ['--reservation=a b']\n")
    cluster.says(states={"0": {"1": ["FAILED|n2|NonZeroExitCode"]}})
    plan = plan_of(tmp_path, 1, device="cuda")
    assert codes(run(plan)) == {1: 0}
    first, second = cluster.calls("sbatch")
    assert {"--partition=gpu", "--time=12:00:00", "--mem=4G", "--cpus-per-task=3", "--gres=gpu:1"} <= {*first}
    assert "--reservation=a b" in first
    assert "--exclude=n9" in first and "--exclude=n9,n2" in second


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitoin: x", "did you mean 'partition'"),
        ("mem: lots", "'lots' is not a size"),
        ("time: soon", "'soon' is not"),
        ("cpus: 0", "not a positive number"),
        ("partition: '-x'", "not the name of a partition"),
        ("partition: [a]", "not a text"),
        ("extra: --wait", "not a list"),
        ("extra: [--wait]", "set by the back end"),
        ("extra: [rm]", "not an option of sbatch"),
        ("extra: [--mem=4G]", "a key of its own"),
        ("- a", "not 'key: value' lines"),
        ("a: [", "not YAML"),
        ("mem: !!python/object/apply:os.system [ls]", "not"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "opts.yaml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_slurm_options(tmp_path / "opts.yaml")
    assert "opts.yaml" in str(caught.value)


def test_a_settings_file_that_is_not_there_is_an_error_only_if_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_slurm_options(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("OUT_OF_MEMORY", "raise 'mem'"),
        ("TIMEOUT", "raise 'time'"),
        ("CANCELLED", "scancel"),
    ],
)
def test_what_would_end_the_same_way_is_not_tried_again(cluster, plan: Plan, state: str, advice: str) -> None:
    cluster.says(states={"0": {"2": ["RUNNING|n1|None", f"{state}|n1|None"]}})
    backend = run(plan, max_retries=3)
    assert codes(backend) == {1: 0, 2: 1, 3: 0, 4: 0}
    assert str(backend.outcomes[2]).startswith(state) and advice in str(backend.outcomes[2])
    assert len(cluster.calls("sbatch")) == 1
    assert f"error: Slurm: {state}" in plan.log_path(2).read_text()


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "FAILED"])
def test_a_failure_is_tried_again_on_another_node_and_then_reported(cluster, plan: Plan, state: str) -> None:
    cluster.says(states={str(turn): {"3": [f"{state}|n{turn + 1}|None"]} for turn in range(3)})
    backend = run(plan, max_retries=2)
    assert codes(backend) == {1: 0, 2: 0, 3: 1, 4: 0}
    assert "n3" in str(backend.outcomes[3]) and "after 2 retries" in str(backend.outcomes[3])
    _, second, third = cluster.calls("sbatch")
    assert {"--array=3", "--exclude=n1"} <= {*second} and {"--array=3", "--exclude=n2"} <= {*third}


def test_where_no_other_node_is_left_the_same_one_is_tried(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(states={"0": {"1": ["NODE_FAIL|n1|None"]}}, refuse=["--exclude"])
    assert codes(run(plan)) == {1: 0, 2: 0, 3: 0, 4: 0}
    assert len(cluster.calls("sbatch")) == 3


def test_a_mistake_of_the_user_is_not_tried_again(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(states={"0": {"1": ["RUNNING|n1|None", "FAILED|n1|NonZeroExitCode"]}})
    backend = started(plan)
    wait(backend, lambda: 1 in backend.running())
    write_status(plan.shard_folder(1), JobStatus(code=3))
    wait(backend, lambda: False)
    assert codes(backend)[1] == 3 and len(cluster.calls("sbatch")) == 1


def test_a_controller_that_does_not_answer_is_waited_for(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(down={"scontrol": 2, "sbatch": 2, "squeue": 3})
    backend, said = started(plan), set()
    wait(backend, lambda: said.add(backend.notice()[:40]) and False)
    assert codes(backend) == {1: 0, 2: 0, 3: 0, 4: 0}
    assert any("does not answer" in notice for notice in said)


@pytest.mark.parametrize(
    "reason",
    [
        "AssocGrpLimit",
        "launch failed requeued held",
        "job requeued in held state",
        "JobHeldUser",
        "PartitionConfig",
        "DependencyNeverSatisfied",
        "QOSMaxCpuPerJobLimit",
        "AssocGrpCPUMinutesLimit",
    ],
)
def test_a_job_that_is_held_for_ever_ends_the_wait(cluster: FakeCluster, plan: Plan, reason: str) -> None:
    cluster.says(states={"0": {"2": [f"PENDING||{reason}"]}})
    backend = run(plan)
    assert codes(backend) == {1: 0, 2: 1, 3: 0, 4: 0}
    assert reason in str(backend.outcomes[2])
    assert cluster.calls("scancel") == [["100_2"]]


def test_reasons_that_pass_are_waited_out(cluster: FakeCluster, plan: Plan) -> None:
    for reason in ("Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "ReqNodeNotAvail", "AssocGrpCpuLimit"):
        assert not is_for_ever(reason)
    cluster.says(states={"0": {"2": ["PENDING||Priority", "PENDING||BeginTime", "RUNNING|n1|None", "COMPLETED|n1|"]}})
    backend, said = started(plan), set()
    wait(backend, lambda: said.add(backend.notice()) and False)
    assert codes(backend)[2] == 0 and "1 job waiting in Slurm (Priority)" in said


def test_a_limit_of_the_account_is_waited_for_a_while_only(cluster, plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(slurm, "LIMIT_PATIENCE_S", 0.1)
    cluster.says(states={"0": {"2": ["PENDING||AssocGrpCpuLimit"]}})
    assert "AssocGrpCpuLimit" in str(run(plan).outcomes[2])


def test_an_element_that_vanishes_has_not_succeeded(cluster: FakeCluster, plan: Plan, monkeypatch) -> None:
    """A pending element that is cancelled alone is in no list."""
    monkeypatch.setattr(slurm_work, "is_shard_accounted_for", lambda folder, stamps: folder.name == "output.1")
    monkeypatch.setattr(Plan, "stamps", lambda self, number: {})
    cluster.says(states={"0": {"1": [""], "2": ["PENDING||Priority", ""], "3": [""]}}, sacct=["100_3|TIMEOUT|n2"])
    backend = run(plan)
    assert codes(backend) == {1: 0, 2: 1, 3: 1, 4: 0}
    assert "no longer knows it" in str(backend.outcomes[2]) and "TIMEOUT on n2" in str(backend.outcomes[3])


def test_a_refused_submission_ends_the_run_with_what_slurm_said(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(refuse=["--array"])
    with pytest.raises(UsageError, match="Invalid partition name"):
        run(plan)


def test_cancel_ends_all_arrays_with_one_call(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(states={"0": {str(index): ["RUNNING|n1|None"] for index in range(1, 5)}})
    backend = started(plan)
    wait(backend, lambda: len(backend.running()) == 4)
    assert (plan.output_dir / "slurm.json").exists()
    backend.cancel()
    backend.cancel()
    assert cluster.calls("scancel") == [["100"]] and not backend.poll()
    assert not (plan.output_dir / "slurm.json").exists()


def test_cancel_ends_an_array_whose_number_is_not_known_yet(cluster: FakeCluster, plan: Plan) -> None:
    backend = started(plan)
    wait(backend, lambda: backend._on_answer == backend._submitted and backend._call is not None)
    backend.cancel()
    assert cluster.calls("scancel") == [["100"]]


def test_a_run_that_was_left_is_taken_over(cluster: FakeCluster, plan: Plan) -> None:
    running = {"1": ["COMPLETED|n1|"], "2": ["RUNNING|n1|"], "3": ["RUNNING|n1|"], "4": ["FAILED|n1|"]}
    cluster.says(states={"0": running})
    backend = started(plan, max_retries=0)
    wait(backend, lambda: len(backend.running()) == 2)
    backend.leave()
    backend.cancel()
    assert not cluster.calls("scancel") and not backend.poll()
    (cluster.folder / "asked.json").unlink()
    cluster.says(states={"0": running | dict.fromkeys("23", ["RUNNING|n1|", "COMPLETED|n1|"])})
    again = run(plan, [2, 3, 4])  # job 1 was whole, job 4 had failed
    assert codes(again) == {2: 0, 3: 0, 4: 0}
    assert [word for word in cluster.calls("sbatch")[1] if word.startswith("--array")] == ["--array=4"]


def kill_while_submitting(plan: Plan, cluster: FakeCluster) -> None:
    """A launch that starts ``sbatch`` and is killed before it has read what it says."""
    backend = started(plan)
    wait(backend, lambda: backend._call is not None and backend._on_answer == backend._submitted)
    backend._call.wait()
    assert cluster.calls("sbatch")


def test_a_launch_killed_while_it_submits_submits_nothing_twice(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(states={"0": dict.fromkeys("1234", ["RUNNING|n1|", "RUNNING|n1|", "COMPLETED|n1|"])})
    kill_while_submitting(plan, cluster)
    assert codes(run(plan)) == {1: 0, 2: 0, 3: 0, 4: 0}
    assert len(cluster.calls("sbatch")) == 1 and not (plan.output_dir / "slurm.json").exists()


def test_a_launch_killed_before_it_submits_leaves_the_work_to_the_next(cluster: FakeCluster, plan: Plan) -> None:
    name = f"funrecipe-{plan.digest[:8]}-01234567"
    slurm_record.write(plan.output_dir, plan.digest, [], slurm_record.Array(name, 0, (1, 2, 3, 4)))
    backend = started(plan)
    wait(backend, lambda: len(cluster.calls("squeue")) == 2)  # an array may appear a moment later
    assert all(f"--name={name}" in call for call in cluster.calls("squeue")) and not cluster.calls("sbatch")
    backend._looking_until = 0.0
    wait(backend, lambda: False)
    assert codes(backend) == {1: 0, 2: 0, 3: 0, 4: 0} and len(cluster.calls("sbatch")) == 1


def test_an_sbatch_that_still_runs_is_waited_for(cluster: FakeCluster, plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(slurm, "INTENT_PATIENCE_S", 0.0)
    name = f"funrecipe-{plan.digest[:8]}-01234567"
    slurm_record.write(plan.output_dir, plan.digest, [], slurm_record.Array(name, 0, (1, 2, 3, 4)))
    other = subprocess.Popen([sys.executable, "-c", "input()", f"--job-name={name}"], stdin=subprocess.PIPE)
    backend = started(plan)
    wait(backend, lambda: len(cluster.calls("squeue")) == 3)
    assert not cluster.calls("sbatch")
    other.communicate(b"\n")
    wait(backend, lambda: False)
    assert codes(backend) == {1: 0, 2: 0, 3: 0, 4: 0} and len(cluster.calls("sbatch")) == 1


def test_a_submission_that_was_taken_although_the_answer_was_lost_is_found(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(lost_answers=1)
    assert codes(run(plan)) == {1: 0, 2: 0, 3: 0, 4: 0}
    assert len(cluster.calls("sbatch")) == 1


def test_a_plan_is_not_replaced_under_an_array_that_was_being_submitted(cluster: FakeCluster, plan: Plan) -> None:
    cluster.says(states={"0": dict.fromkeys("1234", ["RUNNING|n1|"])})
    kill_while_submitting(plan, cluster)
    with pytest.raises(DataError, match="Slurm arrays 100 of another command are still writing here"):
        slurm_record.refuse_living(plan.output_dir, "other", dict(os.environ), resume=True)


def test_a_plan_is_not_replaced_under_arrays_that_live(cluster: FakeCluster, plan: Plan) -> None:
    (cluster.folder / "arrays.json").write_text("[[1]]")
    cluster.says(states={"0": {"1": ["RUNNING|n1|"] * 3 + ["COMPLETED|n1|"]}})
    slurm_record.write(plan.output_dir, "other", [slurm_record.Array("100", 0, (1,))])
    for digest, resume in (("this", True), ("other", False)):
        with pytest.raises(DataError, match="still writing here"):
            slurm_record.refuse_living(plan.output_dir, digest, dict(os.environ), resume=resume)
    slurm_record.refuse_living(plan.output_dir, "other", dict(os.environ), resume=True)
    for _ in range(2):
        try:
            slurm_record.refuse_living(plan.output_dir, "this", dict(os.environ), resume=True)
        except DataError:
            continue
    assert not (plan.output_dir / "slurm.json").exists()


@pytest.mark.parametrize("is_down", [False, True])
def test_an_hour_of_a_run_takes_few_calls(cluster: FakeCluster, tmp_path: Path, monkeypatch, is_down: bool) -> None:
    """A thousand jobs run for an hour without news, or the controller does not answer for that long."""
    for name, value in (("FIRST_ASK_S", 1.0), ("LAST_ASK_S", 30.0), ("RETRY_SUBMIT_S", 10.0)):
        monkeypatch.setattr(slurm, name, value)
    plan, calls, now = plan_of(tmp_path, 1000), [], 0.0
    queue = "".join(f"100|{number}|RUNNING|n1|None\n" for number in range(1, 1001))

    class Instant:
        """A call that is answered when it is asked for."""

        def __init__(self, command: list[str], *_: object) -> None:
            self.name = command[0]
            calls.append(self.name)

        def answer(self) -> Answer:
            if is_down and self.name == "squeue":
                return Answer(1, "", "Unable to contact slurm controller")
            outputs = {"scontrol": "MaxArraySize = 1001", "sbatch": "100", "squeue": queue}
            return Answer(0, outputs.get(self.name, ""), "")

        wait = answer

        def give_up(self) -> None:
            pass

    monkeypatch.setattr(slurm, "Call", Instant)
    monkeypatch.setattr(slurm.time, "monotonic", lambda: now)
    backend = started(plan)
    while now < 3600:
        assert backend.poll()
        now += backend.poll_s
    counts = {name: calls.count(name) for name in ("scontrol", "sbatch", "squeue", "scancel", "sacct")}
    assert counts["scontrol"] == counts["sbatch"] == 1 and counts["scancel"] == counts["sacct"] == 0
    assert 110 < counts["squeue"] < 130
    backend.cancel()


def test_reasons_may_hold_anything() -> None:
    found = read_squeue("12|3|PENDING||(job requeued | in held state)\nnonsense\n12|[4-5]|PENDING||x\n")
    assert list(found) == [("12", 3)] and found["12", 3].reason == "(job requeued | in held state)"


def test_without_slurm_the_user_is_told(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="'sbatch' is not on this machine's PATH"):
        slurm.SlurmBackend(DecodingWork(plan), [1], BackendOptions())


def test_a_recipe_on_slurm_gives_the_results_of_a_local_one(cluster: FakeCluster, tmp_path: Path) -> None:
    """infer.sh from stage 0 to the score; the fake runs what sbatch was given."""
    cluster.says(run=True)
    data = tmp_path / "data"
    data.mkdir()
    source = ROOT / "egs/quickstart/data"
    for name in ("text", "wav.scp"):
        lines = (source / name).read_text().splitlines()[:5]
        (data / name).write_text("".join(line.replace(" wav/", f" {source}/wav/") + "\n" for line in lines))
    for backend in ("local", "slurm"):
        command = ["bash", "egs/asr/infer.sh", "--model", "tests/data/parity/paraformer",
                   "--data_dir", str(data), "--output_dir", str(tmp_path / backend), "--njob", "2", "--gpu_inference",
                   "false", "--backend", backend]  # fmt: skip
        environment = {**os.environ, "PYTHON": sys.executable}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in ("text", "token", "text.cer"):
        results = [(tmp_path / backend / "1best_recog" / name).read_bytes() for backend in ("local", "slurm")]
        assert results[0] == results[1]
