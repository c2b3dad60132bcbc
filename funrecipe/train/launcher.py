"""Wrap ``torchrun`` and report which process failed first, its error and its exit code.

``python -m funrecipe.train.launcher`` takes torchrun's options. Torch's own ends with a traceback of the launcher and
exit code 1 whatever happened, below the messages of all ranks that only lost their partner.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_agent

from funrecipe.errors import FunrecipeError, WorkerError
from funrecipe.processes import PARENT_VARIABLE, end_with_parent

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # torch names it to each process and reads it when the process has failed


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
        """Sorts those first that did not end because of others (a lost partner, a signal of the launcher)."""
        return self.code in (WorkerError.exit_code, 128 + signal.SIGTERM), self.time_s


def main(arguments: Sequence[str] | None = None) -> int:
    end_with_parent()
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # the ranks end with this process
    try:
        run_agent(parse_args(arguments))
    except ChildFailedError as error:
        first = min((ProcessEnd.of(rank, failure) for rank, failure in error.failures.items()), key=lambda e: e.order)
        print(f"rank {first.rank} ended first: {first.message}", file=sys.stderr)
        return first.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
