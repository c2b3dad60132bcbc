"""The back end that runs jobs with a Kaldi-style launcher: ``run.pl``, ``queue.pl``, ``slurm.pl``, a site's own.

Such a launcher is called as ``CMD [options] JOB=1:4 log.JOB.log command ...``, runs the command once per number in
place of the word JOB, and ends with 0 when all have. Until then it reports nothing; progress comes from the workers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from funrecipe.errors import UsageError
from funrecipe.jobs import joblog
from funrecipe.jobs.backend import (
    THREAD_VARIABLES,
    Outcome,
    ProcessBackend,
    consecutive,
    signal_group,
    worker_command,
    worker_environment,
)
from funrecipe.jobs.backend_options import BackendOptions
from funrecipe.jobs.plan import Job, Plan
from funrecipe.jobs.status import clear_status, read_status

LOG_NAME = "launcher.log"
_PASSED_ON = ("PYTHONPATH", "PYTHONUTF8", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "LC_ALL", *THREAD_VARIABLES)
# Launchers put the command into a shell script, with quotes only around what has spaces.
_PLAIN = re.compile(r"[\w@%+=:,./ -]*")


@dataclass
class _Call:
    process: subprocess.Popen[bytes]
    numbers: range
    stopped: tuple[int, str] | None = None


class LauncherBackend(ProcessBackend):
    """One call of the launcher for each run of consecutive jobs that are not finished."""

    poll_s = 1.0
    grace_s = 15.0  # such scripts need a moment to remove their jobs from the queue

    def __init__(self, plan: Plan, jobs: Sequence[Job], options: BackendOptions) -> None:
        super().__init__(plan)
        self._launcher = split_launcher(options.launcher)
        self._command = self._plain_command()
        self._ranges = consecutive(job.number for job in jobs)

    def start(self) -> None:
        for numbers in self._ranges:
            for number in numbers:
                joblog.begin(self.plan.log_path(number))
                clear_status(self.plan.shard_folder(number))
            command = [*self._launcher, f"JOB={numbers[0]}:{numbers[-1]}", str(self._log_pattern), *self._command]
            with open(self.plan.output_dir / "log" / LOG_NAME, "ab") as log:
                log.write(f"# {shlex.join(command)}\n".encode())
                log.flush()
                process = subprocess.Popen(
                    command,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._started.append(_Call(process, numbers))

    def running(self) -> list[int]:
        """Jobs whose worker has reported progress but not its end."""
        found = []
        for call in self._started:
            for number in call.numbers:
                status = read_status(self.plan.shard_folder(number))
                if status.updated and status.code is None:
                    found.append(number)
        return found

    def stop(self, number: int, reason: str) -> None:
        """A launcher cannot end a single job: all jobs of its call end."""
        for call in self._started:
            if number in call.numbers and call.stopped is None:
                call.stopped = (number, reason)
                signal_group(call, signal.SIGTERM)

    @property
    def _log_pattern(self) -> str:
        return str(self.plan.output_dir / "log" / "decode.JOB.log")

    def _environment(self) -> dict[str, str]:
        return worker_environment(os.environ, self.plan.ncpu or 1)

    def _plain_command(self) -> list[str]:
        """The worker's command, with its environment named, since launchers differ in what they pass on.

        Raises:
            UsageError: an argument holds what the shell of a launcher would take for its own, or the word JOB.
        """
        environment = self._environment()
        settings = [f"{name}={environment[name]}" for name in _PASSED_ON if name in environment]
        command = ["env", *settings, *worker_command(self.plan, [])]
        for argument in (*command, self._log_pattern.replace("/decode.JOB.log", "")):
            if not _PLAIN.fullmatch(argument) or "JOB" in argument:
                what = f"'{argument}' contains a character that launchers interpret, or the word JOB"
                hint = "choose an --output_dir of letters, digits and . _ - /, or another --backend"
                raise UsageError(what, where="--backend launcher", hint=hint)
        return [*command, "--job", "JOB"]

    def _collect(self, call: _Call, code: int) -> None:
        for number in call.numbers:
            said = read_status(self.plan.shard_folder(number)).code
            if code == 0 or said == 0:
                self.outcomes[number] = Outcome(0)  # success is proved by the files of the shard
            elif call.stopped is not None:
                stopped, reason = call.stopped
                self.outcomes[number] = Outcome(1, reason if number == stopped else f"ended with job {stopped}")
            elif said is not None:
                self.outcomes[number] = Outcome(said)
            else:
                log = self.plan.output_dir / "log" / LOG_NAME
                what = f"worker did not report its end; launcher exit code {code}: {joblog.last_error_line(log)}"
                self.outcomes[number] = Outcome(1, f"{what}; see {log}")


def split_launcher(launcher: str) -> list[str]:
    """``queue.pl --mem 4G`` as a shell would split it.

    Raises:
        UsageError: nothing was given, quotes do not match, or there is no such program.
    """
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise UsageError(f"cannot split '{launcher}': {error}", where="--launcher") from None
    if not words:
        hint = "write it like --launcher 'queue.pl --mem 4G'"
        raise UsageError("--backend launcher needs --launcher", where="--launcher", hint=hint)
    if shutil.which(words[0]) is None:
        hint = "write its path, or add its folder to PATH"
        raise UsageError(f"'{words[0]}' is not a program on this machine", where="--launcher", hint=hint)
    return words
