"""Calls of Slurm's own commands: argument lists without a shell, one at a time, polled instead of waited for.

Only options that all versions in use have are given, and no output that differs between versions is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from funrecipe.errors import UsageError

ANSWER_S = 150.0  # a controller that is down is noticed by its clients after 9 to 18 s, a full one after 120 s
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
SQUEUE_FORMAT = "%F|%K|%T|%N|%r"  # the reason last: it may hold anything
_GONE = re.compile(r"invalid job id", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"unable to contact|timed out|connection refused|communication|not respond|unable to establish",
    re.IGNORECASE,
)
WAITING_STATES = frozenset(["PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"])
RUNNING_STATES = frozenset(
    ["RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"]
)
# Settings of other jobs or of the user's own queries that would change what our calls do.
_FOREIGN = re.compile(r"SLURM_(?!CONF$|JWT$|CLUSTERS$)|SQUEUE_|SACCT_|SBATCH_(WAIT|ARRAY_INX|EXPORT|OUTPUT|ERROR)")


@dataclass(frozen=True)
class Answer:
    """What a command said; ``code`` is None where it was given up."""

    code: int | None
    output: str
    errors: str

    @property
    def is_unreachable(self) -> bool:
        """The controller did not answer, which is not the same as having nothing to say."""
        if self.code in (0, None) or self.is_unknown_job:
            return self.code is None
        return bool(_UNREACHABLE.search(self.errors))

    @property
    def is_unknown_job(self) -> bool:
        return self.code not in (0, None) and bool(_GONE.search(self.errors))

    @property
    def message(self) -> str:
        lines = [line for line in self.errors.strip().split("\n") if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


class Call:
    """A command in the background; in its own session, so that Ctrl-C does not cut it off halfway."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float = ANSWER_S) -> None:
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._deadline = time.monotonic() + timeout_s
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            start_new_session=True,
        )

    def answer(self) -> Answer | None:
        """None while it runs."""
        code = self._process.poll()
        if code is None:
            if time.monotonic() < self._deadline:
                return None
            self.give_up()
        return Answer(code, _text(self._output), _text(self._errors))

    def wait(self) -> Answer:
        while (answer := self.answer()) is None:
            time.sleep(0.05)
        return answer

    def give_up(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Element:
    """One element of an array, as Slurm sees it."""

    state: str
    node: str = ""
    reason: str = ""

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING_STATES

    @property
    def has_ended(self) -> bool:
        return self.state not in WAITING_STATES | RUNNING_STATES


def require_commands() -> None:
    """Raises UsageError if Slurm's commands are not here."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"'{missing[0]}' is not on this machine's PATH",
            where="--backend slurm",
            hint="run this on a login node of the cluster, or use --backend local",
        )


def client_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without what an enclosing job or the user's own settings for queries put there."""
    return {name: value for name, value in environment.items() if not _FOREIGN.match(name)} | {"LC_ALL": "C"}


def squeue_command(arrays: Iterable[str]) -> list[str]:
    """One question about all elements of all arrays, ended ones included."""
    jobs = f"--jobs={','.join(arrays)}"
    return ["squeue", "--noheader", "--array", "--states=all", f"--format={SQUEUE_FORMAT}", jobs]


def named_command(name: str) -> list[str]:
    """The arrays of a name, a line for each element."""
    return ["squeue", "--noheader", "--states=all", "--format=%F", f"--name={name}"]


def is_called(name: str) -> bool:
    """Whether an ``sbatch`` of that name still runs on this machine."""
    wanted = f"--job-name={name}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                return True
    return False


def read_squeue(text: str) -> dict[tuple[str, int], Element]:
    """(array, index) -> what it is at."""
    found = {}
    for line in text.split("\n"):
        parts = line.strip().split("|", 4)
        if len(parts) == 5 and parts[1].isdecimal():
            found[parts[0], int(parts[1])] = Element(parts[2].strip(), *(_without_null(part) for part in parts[3:]))
    return found


def sacct_command(arrays: Iterable[str]) -> list[str]:
    """For elements that the controller has forgotten; sites without accounting answer with an error."""
    return ["sacct", "--noheader", "--parsable2", "-X", "--format=JobID,State,NodeList", f"--jobs={','.join(arrays)}"]


def read_sacct(text: str) -> dict[tuple[str, int], Element]:
    found = {}
    for line in text.split("\n"):
        parts = line.strip().split("|")
        array, _, index = parts[0].partition("_")
        if len(parts) >= 3 and index.isdecimal():
            found[array, int(index)] = Element(parts[1].split(" ")[0].rstrip("+"), _without_null(parts[2]))
    return found


def read_array_limit(text: str) -> int | None:
    """The largest index of an array, from ``scontrol show config``."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return max(1, int(match[1]) - 1) if match else None


def _without_null(word: str) -> str:
    word = word.strip()
    return "" if word in ("None", "(null)", "None assigned") else word
