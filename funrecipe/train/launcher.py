"""Wrap ``torchrun`` and report which process failed first, its error and its exit code.

``python -m funrecipe.train.launcher`` takes torchrun's options. Torch's own launcher always ends with its own traceback
and exit code 1, after the messages of all the ranks that merely lost a peer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_agent

from funrecipe.errors import FunrecipeError, WorkerError
from funrecipe.files import write_json
from funrecipe.processes import ENDS_VARIABLE, PARENT_VARIABLE, end_with_parent

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # torch names it to each process and reads it when the process has failed
PATIENCE_S = 300  # how long the first node that is ready waits for the last


def tell_launcher(error: FunrecipeError) -> None:
    """Leave the error where the launcher of this process, if there is one, finds it."""
    if path := os.environ.get(ERROR_FILE):
        info = {"timestamp": str(int(time.time())), "exit_code": error.exit_code}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": str(error), "extraInfo": info}}, file)


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: its own error, or what torch says of one that left none."""

    rank: int
    code: int
    message: str
    time_s: int

    @classmethod
    def of(cls, rank: int, failure: ProcessFailure) -> ProcessEnd:
        own = (failure.error_file_data or {}).get("message")
        if isinstance(own, dict) and "exit_code" in own.get("extraInfo", {}):
            info = own["extraInfo"]
            return cls(rank, int(info["exit_code"]), own["message"], int(info["timestamp"]))
        code = failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
        return cls(rank, code, str(failure.message), failure.timestamp)

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts processes first that did not end because of others (a lost peer, a signal from the launcher)."""
        return self.is_consequence, self.time_s

    @property
    def is_consequence(self) -> bool:
        return self.code in (WorkerError.exit_code, 128 + signal.SIGTERM)

    def tell_job(self) -> None:
        """Leave this end where the job that has started launchers on its nodes compares them."""
        if folder := os.environ.get(ENDS_VARIABLE):
            content = asdict(self) | {"is_consequence": self.is_consequence}
            write_json(Path(folder) / f"{os.environ['SLURM_NODEID']}.json", content)


def rendezvous_of_node(environment: Mapping[str, str]) -> list[str]:
    """On a Slurm node: the first node hosts, whatever its host name; slow file systems get more time."""
    if ENDS_VARIABLE not in environment or environment.get("SLURM_JOB_NUM_NODES", "1") == "1":
        return []
    return [f"--rdzv-conf=is_host={int(environment['SLURM_NODEID'] == '0')},read_timeout={PATIENCE_S}"]


def main(arguments: Sequence[str] | None = None) -> int:
    end_with_parent()
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # the ranks end with this process
    try:
        run_agent(parse_args([*rendezvous_of_node(os.environ), *(sys.argv[1:] if arguments is None else arguments)]))
    except SignalException as error:
        print(f"the launcher was ended by {error.sigval.name}", file=sys.stderr)
        return 128 + error.sigval
    except ChildFailedError as error:
        first = min((ProcessEnd.of(rank, failure) for rank, failure in error.failures.items()), key=lambda e: e.order)
        first.tell_job()
        print(f"rank {first.rank} ended first: {first.message}", file=sys.stderr)
        return first.code
    ProcessEnd(0, 0, "", int(time.time())).tell_job()
    return 0


if __name__ == "__main__":
    sys.exit(main())
