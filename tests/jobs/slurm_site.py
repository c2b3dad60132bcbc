"""A Slurm of three nodes on this machine, for tests, where it can be started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests/jobs/slurm_cluster.sh"
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun", "ip", "nsenter", "unshare")
PACKAGES = "slurmctld slurmd slurm-client munge iproute2"
SECONDS = 300


def reason_to_skip(needed: Sequence[str] = NEEDED, packages: str = PACKAGES) -> str:
    """Why a cluster of several nodes, each in namespaces of its own, cannot be run here; empty: it can."""
    if os.geteuid() != 0:
        return "a cluster of several nodes takes root"
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        return f"{missing[0]} is not installed (apt-get install {packages})"
    done = subprocess.run(["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "true"], capture_output=True)
    return "no namespaces may be made here" if done.returncode else ""


class Cluster:
    """A cluster in a folder, and the recipes that run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHON": sys.executable, "SLURM_CONF": str(folder / "slurm/slurm.conf"),
                            "XDG_CONFIG_HOME": str(folder / "config"), "OMP_NUM_THREADS": "1"}  # fmt: skip

    def cluster(self, verb: str, *node: str) -> None:
        command = ["bash", str(SCRIPT), verb, str(self.folder / "slurm"), *node]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def slurm(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def recipe(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = ["bash", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, start_new_session=True, **pipes)

    def states(self) -> list[str]:
        return self.slurm("squeue", "-h", "-r", "-o", "%T").split()

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                pytest.fail(f"did not get there: {process.communicate()[0] if process else self.states()}")
            time.sleep(0.1)

    def nodes(self) -> list[str]:
        return self.slurm("sinfo", "-h", "-N", "-p", "cpu", "-o", "%N").split()

    def drain(self) -> None:
        self.slurm("scontrol", "update", f"nodename={','.join(self.nodes())}", "state=drain", "reason=test")

    def resume(self) -> None:
        self.slurm("scontrol", "update", f"nodename={','.join(self.nodes())}", "state=resume")

    def release(self) -> None:
        """Slurm holds what it requeues back for two minutes, which nothing here has to wait for."""
        for element in self.slurm("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split():
            self.slurm("scontrol", "update", f"jobid={element}", "starttime=now")

    def assert_succeeds(self, process: subprocess.Popen[str]) -> None:
        """Wait for the end of a recipe, while what is requeued is released."""

        def is_over() -> bool:
            self.release()
            return process.poll() is not None

        self.wait_for(is_over)
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said

    def cut(self, node: str) -> None:
        """A node is gone, and Slurm knows it."""
        self.cluster("cut", node)
        self.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    @contextmanager
    def running(self) -> Iterator[None]:
        (self.folder / "slurm").mkdir()
        try:
            self.cluster("start")
        except subprocess.SubprocessError as error:
            logs = "".join(path.read_text()[-500:] for path in (self.folder / "slurm/log").glob("*"))
            self.cluster("stop")
            pytest.skip(f"Slurm did not start: {error}\n{logs}")
        try:
            yield
        finally:
            self.cluster("stop")
