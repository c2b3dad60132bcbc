"""Training as one Slurm job: torchrun on each of its nodes; Slurm requeues it when it is preempted.

The job is an array of one, so that it is submitted, watched, left, taken over and ended as the jobs of a decode are.
Training keeps its own files: a job that runs again resumes from the last checkpoint. This module shows its log.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from funrecipe.identity import value_digest
from funrecipe.jobs import joblog, slurm_record
from funrecipe.jobs.backend import Outcome, error_of
from funrecipe.jobs.backend_options import BackendOptions, SlurmOptions, read_slurm_options
from funrecipe.jobs.launch import LATE_FILES_S, wait_for_jobs
from funrecipe.jobs.slurm import SlurmBackend
from funrecipe.jobs.slurm_states import ADVICE
from funrecipe.jobs.slurm_work import Request
from funrecipe.jobs.status import read_status
from funrecipe.processes import only_run_in

LOG_NAME = "slurm.log"
DEFAULT_GB = 10  # of a process: weights, gradients, two moments and a batch of a model of 220 M parameters on the CPU
GPU_CPUS = 4  # of a process with a GPU, by default
SHOWN_BYTES = 1 << 20
SCRIPT = """\
#!/bin/bash
# A training, on the first node of its job: arguments are working directory, log, command.
exec >> "$2" 2>&1 || exit 5
cd "$1" || exit 5
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Training:
    """A ``SlurmWork`` of one job.

    Attributes:
        options: of ``funrecipe train``, those of the processes left out.
        num_gpus: of each node, one process each; 0: ``num_processes`` on its CPU.
    """

    output_dir: Path
    options: tuple[str, ...]
    num_nodes: int = 1
    num_gpus: int = 0
    num_processes: int = 1
    max_restarts: int = 0
    script: str = SCRIPT

    @property
    def digest(self) -> str:
        return value_digest([self.options, self.num_nodes, self.num_gpus, self.num_processes])

    @property
    def advice(self) -> Mapping[str, str]:
        return {
            **ADVICE,
            "OUT_OF_MEMORY": "raise 'mem' under 'train' in --backend_opts, or lower --batch_bins",
            "TIMEOUT": "raise 'time' under 'train' in --backend_opts",
        }

    @property
    def processes(self) -> int:
        """Of each node."""
        return self.num_gpus or self.num_processes

    def arguments(self, offset: int) -> list[str]:
        launcher = [f"--nproc-per-node={self.processes}", f"--max-restarts={self.max_restarts}"]
        train = ["-m", "funrecipe", "train", f"--num_gpus={self.num_gpus}", *self.options]
        job = [sys.executable, "-m", "funrecipe.jobs.slurm_nodes", str(self.folder.resolve())]
        return [os.getcwd(), str(self.log_path(1).resolve()), *job, *launcher, *train]

    def request(self, slurm: SlurmOptions) -> Request:
        cpus = self.processes * (slurm.cpus or (GPU_CPUS if self.num_gpus else 1))
        number, unit = re.fullmatch(r"(\d+)(\D?)", slurm.mem or f"{DEFAULT_GB}G").groups()  # type: ignore[union-attr]
        memory = f"{int(number) * self.processes}{unit}"
        return Request(cpus, slurm.cpus or 1, memory, self._gres(slurm), self.num_nodes)

    def _gres(self, slurm: SlurmOptions) -> str:
        """Settings may say the type of a GPU; the number is the recipe's."""
        wanted = [entry for entry in slurm.gres.split(",") if entry and entry.split(":")[0] != "gpu"]
        if self.num_gpus and not slurm.asks_for_gpus:
            kinds = [entry for entry in slurm.gres.split(",") if entry.split(":")[0] == "gpu"] or ["gpu"]
            wanted += [f"{re.sub(r':[0-9]+$', '', kinds[0])}:{self.num_gpus}"]
        return ",".join(wanted)

    @property
    def folder(self) -> Path:
        return self.output_dir / "log"

    def log_path(self, number: int) -> Path:
        return self.folder / LOG_NAME

    def status_folder(self, number: int) -> Path:
        return self.folder

    def is_done(self, number: int) -> bool:
        return read_status(self.folder).code == 0


def train_on_slurm(training: Training, options: BackendOptions) -> None:
    """Submit the training, or take over the job of the same command that was left, and wait for its end.

    Raises:
        FunrecipeError: of the kind of its exit code; names the log and the last error in it.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; the job is ended or left (``options.on_interrupt``).
    """
    with only_run_in(training.folder):
        slurm_record.refuse_living(training.output_dir, training.digest, dict(os.environ), resume=True)
        arrays, _ = slurm_record.read(training.output_dir, training.digest)
        if arrays and training.is_done(1):
            print("the job that was left running has finished", file=sys.stderr)
            slurm_record.remove(training.output_dir)
            return
        slurm = read_slurm_options(options.opts_file, "train")
        backend, shown = SlurmBackend(training, [1], options, slurm), _Shown(training.log_path(1))
        wait_for_jobs(backend, lambda: shown.update(backend.notice()), options.on_interrupt)
        shown.update("")
        outcome = _outcome(training, backend)
    if outcome.code != 0:
        log = training.log_path(1)
        said = joblog.last_error_line(log).removeprefix("error: ")
        what = f"the training failed ({outcome})" + (f": {said}" if str(outcome) not in said else "")
        raise error_of({outcome.code})(what, where=str(log), hint="rerun to resume from the last checkpoint")


def _outcome(training: Training, backend: SlurmBackend) -> Outcome:
    """What Slurm says, but a job has only succeeded if it says so itself, too."""
    outcome = backend.outcomes.get(1, Outcome(1, "it was not run"))
    for wait_s in LATE_FILES_S if outcome.code == 0 else ():
        time.sleep(wait_s)
        if training.is_done(1):
            return outcome
    return Outcome(1, "Slurm says that it succeeded, but it did not finish") if outcome.code == 0 else outcome


class _Shown:
    """What the job has written since we began, as it comes, and what Slurm says about it when that changes."""

    def __init__(self, log: Path) -> None:
        self.log, self.notice = log, ""
        self.position = log.stat().st_size if log.exists() else 0

    def update(self, notice: str) -> None:
        try:
            with open(self.log, "rb") as file:
                file.seek(self.position)
                whole, newline, _ = file.read(SHOWN_BYTES).rpartition(b"\n")
        except OSError:
            whole = newline = b""
        self.position += len(whole + newline)
        for line in whole.decode("utf-8", errors="replace").split("\n") if newline else ():
            if not line.startswith("#"):
                print(line, file=sys.stderr)
        kind = re.sub(r"\d+", "", notice)  # not for each second that passes
        if notice and kind != self.notice:
            print(notice, file=sys.stderr)
        self.notice = kind
        sys.stderr.flush()
