"""What a training job runs on its first node: it starts a launcher on every node and reports what ended first.

``python -m funrecipe.jobs.slurm_nodes FOLDER [option of the launcher ...]``, in a job of Slurm. FOLDER, which all
nodes see, gets the exit code (``progress.json``). Slurm's ``srun`` starts the launchers and ends all when one fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from funrecipe.errors import UsageError, WorkerError
from funrecipe.jobs import joblog
from funrecipe.jobs.backend import PRIVATE_VARIABLES
from funrecipe.jobs.slurm_states import STEP_OUT_OF_MEMORY
from funrecipe.jobs.status import JobStatus, clear_status, write_status
from funrecipe.processes import ENDS_VARIABLE, RETRIED_VARIABLE, end_with_parent

_OUT_OF_MEMORY = re.compile(rb"slurmstepd.*oom.kill event|srun: error: .*Out Of Memory")
LATE_FILES_S = 60.0  # a file system over the network may show another machine's files a little later
PORTS = range(20000, 32000)  # below the ports that systems assign on request


def launcher_command(environment: Mapping[str, str], options: Sequence[str], first_node: str = "") -> list[str]:
    """One launcher on each node of the job; several meet on the first."""
    nodes, job = environment.get("SLURM_JOB_NUM_NODES", "1"), environment["SLURM_JOB_ID"]
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    place = ["--standalone"]
    if nodes != "1":
        port = PORTS[int(job) % len(PORTS)]
        place = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={job}.{restarts}"]
        place += [f"--rdzv-endpoint={first_node}:{port}"]
    # Since Slurm 22.05 a step no longer has the cores of a task unless it is told.
    cores = [f"--cpus-per-task={environment['SLURM_CPUS_PER_TASK']}"] if "SLURM_CPUS_PER_TASK" in environment else []
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", *cores, "--kill-on-bad-exit=1", "--wait=0"]
    return [*step, sys.executable, "-m", "funrecipe.train.launcher", *place, *options]


def main(arguments: Sequence[str]) -> int:
    end_with_parent()
    if "SLURM_JOB_ID" not in os.environ:
        print(UsageError("this is not a job of Slurm", hint="use --backend slurm"), file=sys.stderr)
        return UsageError.exit_code
    folder, started = Path(arguments[0]), time.monotonic()
    for path in folder.glob("ends.*"):  # of attempts that were killed
        shutil.rmtree(path)
    # Of this attempt alone: one on a node that is out of reach may end later.
    ends = folder / f"ends.{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    ends.mkdir(parents=True, exist_ok=True)
    clear_status(folder)
    environment = {name: value for name, value in os.environ.items() if name not in PRIVATE_VARIABLES}
    # One store per restart: with torch's shared one, restarted ranks may read the addresses of dead ones and hang.
    environment |= {ENDS_VARIABLE: str(ends), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        environment[RETRIED_VARIABLE] = "1"
    command = launcher_command(environment, arguments[1:], _first_node())
    print(joblog.header(command), end="", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: None)  # Slurm sends it to everybody; the trainer saves and ends
    code = _code(*_run(command, environment), ends)
    shutil.rmtree(ends)
    write_status(folder, JobStatus(code=code))
    print(joblog.trailer(code, time.monotonic() - started), end="", flush=True)
    return code if code >= 0 else 128 - code


def _first_node() -> str:
    """By Slurm's own command, which reads lists like ``n[1-2,7]``."""
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.partition("\n")[0]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bool]:
    """Its exit code, and whether Slurm said that something was killed for memory, which only its messages tell."""
    is_out_of_memory = False
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            is_out_of_memory = is_out_of_memory or bool(_OUT_OF_MEMORY.match(line))
    return process.returncode, is_out_of_memory


def _code(code: int, is_out_of_memory: bool, ends: Path) -> int:
    """That of what ended first, which is printed; srun's is only the highest, and sometimes 0 when a node is lost."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if code and is_out_of_memory:
        print("error: Slurm ended the training because it used more memory than it was given")
        return STEP_OUT_OF_MEMORY
    deadline = time.monotonic() + LATE_FILES_S
    while not code and len(list(ends.iterdir())) < nodes and time.monotonic() < deadline:
        time.sleep(1)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in ends.iterdir()]
    failed = [end for end in found if end["code"]]
    if failed:
        first = min(failed, key=lambda end: (end["is_consequence"], end["time_s"]))
        print(f"error: rank {first['rank']} ended first: {first['message']}")
        code = int(first["code"])
    if not code and len(found) < nodes:
        print(f"error: {nodes - len(found)} of {nodes} nodes did not report how they ended")
        return WorkerError.exit_code
    return code if code != STEP_OUT_OF_MEMORY else WorkerError.exit_code  # killed, but not for memory


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
