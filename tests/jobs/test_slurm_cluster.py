"""The back end of Slurm on a real one: three nodes on this machine, where it can be started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_site import ROOT, SECONDS, Cluster, reason_to_skip

pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


class Site(Cluster):
    """A cluster, data, and a local run to compare with."""

    def start(self, output: str, *arguments: str) -> subprocess.Popen[str]:
        return self.recipe(
            "egs/asr/infer.sh", "--model", str(self.folder / "model"), "--gpu_inference", "false",
            "--data_dir", str(self.folder / "data"), "--output_dir", str(self.folder / output), "--njob", "2",
            *arguments,
        )  # fmt: skip

    def infer(self, output: str, *arguments: str) -> tuple[int, str]:
        process = self.start(output, *arguments)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    def assert_same_as_local(self, output: str) -> None:
        for name in ("text", "token", "text.cer"):
            results = [(self.folder / run / "1best_recog" / name).read_bytes() for run in ("local", output)]
            assert results[0] == results[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("slurm")
    site = Site(folder)
    source, data = ROOT / "egs/quickstart/data", folder / "data"
    data.mkdir()
    for name in ("text", "wav.scp"):
        lines = (source / name).read_text().splitlines()[:8]
        (data / name).write_text("".join(line.replace(" wav/", f" {source}/wav/") + "\n" for line in lines))
    shutil.copytree(ROOT / "tests/data/parity/paraformer", folder / "model")
    assert site.infer("local")[0] == 0
    with site.running():
        yield site


def test_arrays_give_the_results_of_a_local_run(site: Site) -> None:
    """Four jobs where the largest array has indices up to 3."""
    code, said = site.infer("array", "--backend", "slurm", "--njob", "4")
    assert code == 0, said
    assert "of 3 jobs" in said and "of 1 job\n" in said
    site.assert_same_as_local("array")
    hosts = {line for log in (site.folder / "array/log").glob("decode.*.log")
             for line in log.read_text().splitlines() if line.startswith("# Running on")}  # fmt: skip
    assert hosts and hosts <= {f"# Running on {node}" for node in site.nodes()}
    assert not (site.folder / "array/slurm.json").exists()


def test_a_job_that_fails_for_good_publishes_nothing_and_its_error_is_shown(site: Site) -> None:
    """The weights change while the jobs wait."""
    shutil.copytree(site.folder / "model", site.folder / "other_model")
    site.drain()
    process = site.start("failing", "--backend", "slurm", "--model", str(site.folder / "other_model"))
    site.wait_for(lambda: site.states().count("PENDING") == 2, process)
    with open(site.folder / "other_model/model.pb", "ab") as weights:
        weights.write(b"another model")
    site.resume()
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 3 and "2 of 2 jobs failed" in said and "model.pb" in said
    assert not (site.folder / "failing/1best_recog").exists() and not site.states()


def test_a_job_that_takes_too_much_memory_is_told_from_the_state(site: Site) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("no control groups of version 1, with which this Slurm limits memory")
    (site.folder / "small.yaml").write_text("mem: 60M\n")
    code, said = site.infer("small", "--backend", "slurm", "--backend_opts", str(site.folder / "small.yaml"))
    assert code == 5 and "OUT_OF_MEMORY on n" in said and "raise 'mem'" in said
    assert not (site.folder / "small/1best_recog").exists()
    assert site.infer("small", "--backend", "slurm")[0] == 0
    site.assert_same_as_local("small")


def test_a_signal_cancels_the_arrays(site: Site) -> None:
    process = site.start("cancelled", "--backend", "slurm")
    site.wait_for(lambda: "RUNNING" in site.states(), process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, said
    site.wait_for(lambda: not site.states())
    assert not (site.folder / "cancelled/1best_recog").exists()
    assert not (site.folder / "cancelled/slurm.json").exists()


def test_a_run_that_was_left_is_taken_over_even_if_the_controller_is_restarted(site: Site) -> None:
    site.drain()
    arguments = ("--backend", "slurm", "--on_interrupt", "leave")
    process = site.start("left", *arguments)
    site.wait_for(lambda: site.states().count("PENDING") == 2, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and "the same command takes them over" in said
    assert site.states().count("PENDING") == 2
    site.cluster("stop-controller")
    again = site.start("left", *arguments)
    site.cluster("start-controller")
    site.wait_for(lambda: site.states().count("PENDING") == 2, again)
    site.resume()
    said, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, said
    assert "looking for arrays" in said and "Slurm: array " not in said, said
    site.assert_same_as_local("left")


def test_a_recipe_killed_while_it_submits_submits_nothing_twice(site: Site) -> None:
    site.drain()
    process, record = site.start("killed", "--backend", "slurm", "--njob", "4"), site.folder / "killed/slurm.json"
    site.wait_for(lambda: record.exists() and "funrecipe-" in record.read_text(), process)
    os.killpg(process.pid, signal.SIGKILL)  # sbatch has a session of its own
    process.communicate(timeout=SECONDS)
    again = site.start("killed", "--backend", "slurm", "--njob", "4")
    site.wait_for(lambda: site.states().count("PENDING") == 4, again)
    time.sleep(3)
    assert len(site.states()) == 4
    site.resume()
    said, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, said
    site.assert_same_as_local("killed")


def test_another_plan_is_refused_while_the_arrays_of_the_first_live(site: Site) -> None:
    site.drain()
    process = site.start("replaced", "--backend", "slurm", "--on_interrupt", "leave")
    site.wait_for(lambda: site.states().count("PENDING") == 2, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    code, said = site.infer("replaced", "--backend", "slurm", "--njob", "1")
    assert code == 3 and "still writing here" in said and "scancel" in said
    site.slurm("scancel", "-u", "root")
    site.resume()
    assert site.infer("replaced", "--backend", "slurm", "--njob", "1")[0] == 0
    site.assert_same_as_local("replaced")


def test_jobs_that_are_preempted_resume_when_those_of_a_higher_priority_have_ended(site: Site) -> None:
    process = site.start("preempted", "--backend", "slurm")
    site.wait_for(lambda: site.states().count("RUNNING") == 2, process)
    site.slurm("sbatch", "--partition=urgent", "--nodes=3", "--ntasks=6", "--output=/dev/null", "--wrap=sleep 1")
    site.wait_for(lambda: site.states().count("PENDING") == 2, process)

    site.assert_succeeds(process)
    assert "trying again" not in (site.folder / "preempted/log/decode.1.log").read_text()
    site.assert_same_as_local("preempted")


def test_what_a_node_that_is_gone_had_and_what_is_requeued_is_decoded_on_others(site: Site) -> None:
    """Two nodes have jobs. The last test: the node does not come back."""
    process = site.start("cut", "--backend", "slurm", "--njob", "3")
    site.wait_for(lambda: site.states().count("RUNNING") == 3, process)
    first, *_, last = site.slurm("squeue", "-h", "-r", "-o", "%i %N").splitlines()
    gone = first.split()[1]
    site.cut(gone)
    site.slurm("scontrol", "requeue", last.split()[0])
    site.wait_for(lambda: "PENDING" in site.states(), process)

    site.assert_succeeds(process)
    site.assert_same_as_local("cut")
