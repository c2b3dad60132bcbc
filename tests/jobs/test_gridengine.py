"""``--backend launcher`` with a real GridEngine of one host, where it can be started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_site import reason_to_skip

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("sge_qmaster", "sge_execd", "qsub", "qconf", "ip", "nsenter", "unshare")
SECONDS = 300


REASON_TO_SKIP = reason_to_skip(NEEDED, "gridengine-master gridengine-exec gridengine-client")
pytestmark = pytest.mark.skipif(bool(REASON_TO_SKIP), reason=REASON_TO_SKIP)


class Site:
    def __init__(self, folder: Path, pid: int) -> None:
        self.folder, self.pid = folder, pid
        self.environment = {**os.environ, "PYTHON": sys.executable, "SGE_ROOT": "/var/lib/gridengine"}

    def start(self, output: str, *arguments: str) -> subprocess.Popen[str]:
        """infer.sh on the host of the queue."""
        command = ["nsenter", "-t", str(self.pid), "--mount", "--uts", "--net", "--pid", f"--wd={ROOT}", "bash",
                   "egs/asr/infer.sh", "--model", str(self.folder / "model"), "--gpu_inference", "false",
                   "--data_dir", str(self.folder / "data"), "--output_dir", str(self.folder / output), "--njob", "2",
                   *arguments]  # fmt: skip
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.environment, start_new_session=True, **pipes)

    def infer(self, output: str, *arguments: str) -> tuple[int, str]:
        process = self.start(output, *arguments)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    def jobs(self) -> str:
        command = ["nsenter", "-t", str(self.pid), "--mount", "--uts", "--net", "--pid", "qstat"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


QUEUE = ("--backend", "launcher", "--launcher", f"{ROOT / 'tests/jobs/queue.sh'} --mem 4G")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sge")
    home, data, source = folder / "home", folder / "data", ROOT / "egs/quickstart/data"
    home.mkdir()
    data.mkdir()
    for name in ("text", "wav.scp"):
        lines = (source / name).read_text().splitlines()[:4]
        (data / name).write_text("".join(line.replace(" wav/", f" {source}/wav/") + "\n" for line in lines))
    shutil.copytree(ROOT / "tests/data/parity/paraformer", folder / "model")
    with open(folder / "log", "wb") as log:
        engine = subprocess.Popen(["bash", str(ROOT / "tests/jobs/sge_cluster.sh"), str(home)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (home / "ready").exists():
            if engine.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"GridEngine did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.1)
        inside = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()[0]
        yield Site(folder, int(inside))
    finally:
        engine.kill()
        engine.wait()


def test_a_queue_gives_the_results_of_a_local_run(site: Site) -> None:
    code, said = site.infer("queue", *QUEUE)
    assert code == 0, said
    assert site.infer("local")[0] == 0
    for name in ("text", "token", "text.cer"):
        results = [(site.folder / run / "1best_recog" / name).read_bytes() for run in ("local", "queue")]
        assert results[0] == results[1]
    assert "# Running on sgehost" in (site.folder / "queue/log/decode.2.log").read_text()


def test_a_queue_that_takes_no_jobs_is_quoted(site: Site) -> None:
    refused = site.folder / "refused.sh"
    refused.write_text("#!/bin/bash\nexec qsub -l no_such_resource=1 -t 1-2 -b y true\n")
    refused.chmod(0o755)
    code, said = site.infer("refused", "--backend", "launcher", "--launcher", str(refused))
    assert code == 5 and 'unknown resource "no_such_resource"' in said
    assert not (site.folder / "refused/1best_recog").exists()


def test_a_signal_ends_the_jobs_in_the_queue(site: Site) -> None:
    process = site.start("ended", *QUEUE)
    wait_for(lambda: " r " in site.jobs() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=SECONDS)
    assert "infer.sh: stopped by SIGTERM" in said, said
    wait_for(lambda: not site.jobs())
