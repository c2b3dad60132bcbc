"""The back end that runs jobs as arrays of Slurm.

Slurm does the scheduling; this module calls one ``sbatch`` for the jobs that are not finished (several where the arrays
of the cluster are smaller), one ``squeue`` for all of them periodically, ``scancel`` to end them. Calls do not block
the caller, so that a controller that is restarted or slow delays nothing but the notices. The arrays are recorded in
the run's folder: a launch that finds such a record takes over the arrays that still exist.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from funrecipe.errors import UsageError, count
from funrecipe.files import atomic_write
from funrecipe.jobs import joblog, slurm_record
from funrecipe.jobs.backend import Outcome, worker_environment
from funrecipe.jobs.backend_options import BackendOptions, SlurmOptions, read_slurm_options
from funrecipe.jobs.progress import format_duration
from funrecipe.jobs.slurm_client import (
    Answer,
    Call,
    Element,
    client_environment,
    is_called,
    named_command,
    read_array_limit,
    read_sacct,
    read_squeue,
    require_commands,
    sacct_command,
    squeue_command,
)
from funrecipe.jobs.slurm_record import Array
from funrecipe.jobs.slurm_states import FORGOTTEN, STEP_OUT_OF_MEMORY, explain, is_for_ever, is_limit, is_worth_a_retry
from funrecipe.jobs.slurm_work import SlurmWork, Submission, new_name, sbatch_command, split
from funrecipe.jobs.status import clear_status, read_status
from funrecipe.processes import RETRIED_VARIABLE

SCRIPT_NAME = "slurm.sh"
FIRST_ASK_S, LAST_ASK_S, ASK_GROWTH = 1.0, 30.0, 1.5
RETRY_SUBMIT_S = 10.0
DEFAULT_ARRAY_LIMIT = 1000  # Slurm's own
LIMIT_PATIENCE_S = 300.0
CANCEL_S = 30.0
INTENT_PATIENCE_S = 10.0  # how long an array that was being submitted when its launch was killed may take to appear
USER_MISTAKES = (2, 3, 4, 6)  # exit codes that another node would end with, too
Key = tuple[str, int]


class SlurmBackend:
    """Jobs as elements of arrays. ``outcomes`` and the rest: see ``Backend``."""

    can_leave = True

    def __init__(
        self, work: SlurmWork, numbers: Sequence[int], options: BackendOptions, slurm: SlurmOptions | None = None
    ) -> None:
        require_commands()
        self.work, self.options = work, options
        self.slurm = slurm or read_slurm_options(options.opts_file)
        self.outcomes: dict[int, Outcome] = {}
        self.poll_s = 0.2
        self._numbers = list(numbers)
        self._environment = client_environment(os.environ)
        self._arrays: list[Array] = []
        self._keys: dict[Key, int] = {}  # what has not ended, as far as we know -> job
        self._elements: dict[int, Element] = {}
        self._reasons: dict[int, str] = {}  # of jobs that we ended
        self._retries: dict[int, int] = {}
        self._missing: set[int] = set()  # jobs that the last answer did not name
        self._queue: list[Submission] = []
        self._call: Call | None = None
        self._on_answer: Callable[[Answer], None] = self._asked
        self._next_ask = self._next_submit = 0.0
        self._ask_s = FIRST_ASK_S
        self._silent_since: float | None = None
        self._limited_since: float | None = None
        self._array_limit: int | None = None
        self._intent: Array | None = None  # what is being submitted; its id is a name
        self._looking_until: float | None = None
        self._is_left = self._has_hurried = False
        self._at_once = ""  # the part of --array that says how many elements may run at once

    def start(self) -> None:
        """Take over what a record says, and queue the rest."""
        self._arrays, self._intent = slurm_record.read(self.work.output_dir, self.work.digest)
        with atomic_write(self._script) as file:
            file.write(self.work.script)
        if self._intent is not None:
            self._look_for_intent(INTENT_PATIENCE_S)
        else:
            self._take_over()

    def _take_over(self) -> None:
        """Wait for the arrays that are known, and queue the rest."""
        wanted = set(self._numbers)
        for array in self._arrays:
            for number in wanted.intersection(array.numbers):
                self._keys[array.id, number - array.offset] = number
        if self._arrays:
            _say(f"looking for arrays {', '.join(array.id for array in self._arrays)} of this run")
            self._begin(squeue_command(array.id for array in self._arrays), self._found_again)
        else:
            self._queue = [Submission(tuple(self._numbers), 0)]

    def poll(self) -> bool:
        if self._call is not None:
            answer = self._call.answer()
            if answer is not None:
                self._call = None
                self._note_silence(answer)
                self._on_answer(answer)
        now = time.monotonic()
        if self._looking_until is not None:
            if self._call is None and self._intent is not None and now >= self._next_ask:
                self._begin(named_command(self._intent.id), self._named)
        elif self._call is None and self._queue and now >= self._next_submit:
            if self._array_limit is None:
                self._begin(["scontrol", "show", "config"], self._learned)
            else:
                self._submit(self._queue[0])
        elif self._call is None and self._keys and (now >= self._next_ask or self._is_news_due()):
            self._begin(squeue_command(sorted({array for array, _ in self._keys})), self._asked)
        self.poll_s = 0.2 if self._call is not None else 1.0
        is_busy = self._call is not None or self._looking_until is not None or bool(self._keys) or bool(self._queue)
        if not is_busy and not self._is_left:
            slurm_record.remove(self.work.output_dir)
        return is_busy

    def _is_news_due(self) -> bool:
        """All workers have reported their end: ask Slurm about it ahead of schedule, once."""
        if self._has_hurried or self._queue:
            return False
        folders = map(self.work.status_folder, self._keys.values())
        self._has_hurried = all(read_status(folder).code is not None for folder in folders)
        return self._has_hurried

    def running(self) -> Collection[int]:
        return [number for number in self._keys.values() if self._element(number).state == "RUNNING"]

    def _element(self, number: int) -> Element:
        """The last state that Slurm reported; until then a job counts as waiting."""
        return self._elements.get(number, Element("PENDING"))

    def notice(self) -> str:
        if self._silent_since is not None:
            seconds = format_duration(time.monotonic() - self._silent_since)
            return f"Slurm's controller does not answer ({seconds} so far), waiting for it"
        known = [self._elements[number] for number in self._keys.values() if number in self._elements]
        waiting = [element for element in known if element.is_waiting]
        if not waiting:
            return ""
        reasons = sorted({element.reason for element in waiting if element.reason})[:2]
        return f"{count(len(waiting), 'job')} waiting in Slurm" + (f" ({', '.join(reasons)})" if reasons else "")

    def stop(self, number: int, reason: str) -> None:
        if number in self._reasons:
            return
        keys = [key for key, known in self._keys.items() if known == number]
        self._reasons[number] = reason
        self._scancel([f"{array}_{index}" for array, index in keys])

    def leave(self) -> None:
        """Leave everything running; the record says where it is."""
        self._settle_submission()
        if not self._keys:
            return
        ids = ", ".join(sorted({array for array, _ in self._keys}))
        _say(f"arrays {ids} keep running: the same command takes them over, scancel ends them")
        self._keys, self._queue, self._is_left = {}, [], True

    def cancel(self) -> None:
        if self._is_left:
            return
        self._settle_submission()
        arrays = sorted({array for array, _ in self._keys})
        self._keys, self._queue = {}, []
        if self._intent is not None:
            _say(f"perhaps jobs named {self._intent.id} were submitted: scancel --name={self._intent.id} ends them")
        elif not arrays or self._scancel(arrays):
            slurm_record.remove(self.work.output_dir)

    # Submitting

    @property
    def _script(self) -> Path:
        return self.work.output_dir / "log" / SCRIPT_NAME

    def _learned(self, answer: Answer) -> None:
        """The size of arrays, from the controller's settings, before the first is submitted."""
        if answer.is_unreachable:
            self._next_submit = time.monotonic() + RETRY_SUBMIT_S
            return
        self._array_limit = read_array_limit(answer.output) or DEFAULT_ARRAY_LIMIT
        self._queue = [part for whole in self._queue for part in self._split(whole.numbers, whole.avoid)]
        if self.slurm.max_jobs:
            self._at_once = f"%{max(1, self.slurm.max_jobs // len(self._queue))}"

    def _split(self, numbers: Sequence[int], avoid: frozenset[str] = frozenset()) -> list[Submission]:
        return split(numbers, self._array_limit or DEFAULT_ARRAY_LIMIT, avoid)

    def _submit(self, submission: Submission) -> None:
        """Record what is about to be submitted, and its name, so that a later launch can ask Slurm for it."""
        for number in submission.numbers:
            joblog.begin(self.work.log_path(number))
            clear_status(self.work.status_folder(number))
        environment = worker_environment(self._environment, self.work.request(self.slurm).threads)
        if any(number in self._retries for number in submission.numbers):
            environment[RETRIED_VARIABLE] = "1"
        environment.pop("CUDA_VISIBLE_DEVICES", None)  # of this machine; Slurm sets that of the node
        self._intent = Array(new_name(self.work.digest), submission.offset, submission.numbers)
        self._note()
        command = sbatch_command(self.work, self.slurm, submission, self._intent.id, self._at_once, self._script)
        self._begin(command, self._submitted, environment)

    def _note(self) -> None:
        slurm_record.write(self.work.output_dir, self.work.digest, self._arrays, self._intent)

    def _submitted(self, answer: Answer) -> None:
        submission = self._queue[0]
        if answer.is_unreachable:  # the jobs may have been submitted all the same
            self._look_for_intent(RETRY_SUBMIT_S)
            return
        self._queue.pop(0)
        self._intent = None
        array = answer.output.strip().split("\n")[-1].split(";")[0]
        if answer.code != 0 or not array.isdecimal():
            if submission.avoid:  # perhaps no other node is left
                self._queue.insert(0, Submission(submission.numbers, submission.offset))
                return
            raise UsageError(
                f"Slurm does not accept the jobs: {answer.message}",
                where="sbatch",
                hint="change the settings in --backend_opts (partition, account, time, mem, gres, ...)",
            )
        _say(f"array {array} of {count(len(submission.numbers), 'job')}")
        self._arrays.append(Array(array, submission.offset, submission.numbers))
        self._note()
        for number in submission.numbers:
            self._keys[array, number - submission.offset] = number
            self._elements.pop(number, None)
        self._has_hurried = False
        self._ask_soon()

    def _look_for_intent(self, patience_s: float) -> None:
        """Ask for the array that was about to be submitted, of which nothing but its name is known."""
        self._looking_until, self._next_ask, self._ask_s = time.monotonic() + patience_s, 0.0, FIRST_ASK_S

    def _named(self, answer: Answer) -> None:
        """Take over the array, or submit its jobs again once nothing can still be submitting them."""
        assert self._intent is not None and self._looking_until is not None
        arrays = {line.strip() for line in answer.output.split("\n") if line.strip().isdecimal()}
        may_come = time.monotonic() < self._looking_until or is_called(self._intent.id)
        if answer.code != 0 or (not arrays and may_come):
            self._ask_later()
            return
        self._looking_until = None
        if self._queue:  # what this launch submitted
            self._next_submit = 0.0
            if arrays:
                self._submitted(Answer(0, arrays.pop(), ""))
            return
        self._arrays += [Array(array, self._intent.offset, self._intent.numbers) for array in sorted(arrays)]
        self._intent = None
        self._take_over()

    # Asking

    def _begin(
        self, command: list[str], on_answer: Callable[[Answer], None], environment: dict[str, str] | None = None
    ) -> None:
        self._call, self._on_answer = Call(command, environment or self._environment), on_answer

    def _settle_submission(self) -> None:
        """Finish or end the call in progress, and find out which array it submitted."""
        call, self._call = self._call, None
        if call is not None and self._on_answer == self._submitted:
            self._submitted(call.wait())
        elif call is not None:
            call.give_up()
        deadline = time.monotonic() + CANCEL_S
        while self._intent is not None and self._looking_until is not None and time.monotonic() < deadline:
            self._named(Call(named_command(self._intent.id), self._environment, CANCEL_S).wait())
            time.sleep(0.2)

    def _note_silence(self, answer: Answer) -> None:
        if not answer.is_unreachable:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = time.monotonic()

    def _ask_soon(self) -> None:
        self._ask_s = FIRST_ASK_S
        self._next_ask = time.monotonic() + FIRST_ASK_S

    def _ask_later(self) -> None:
        self._ask_s = min(LAST_ASK_S, self._ask_s * ASK_GROWTH)
        self._next_ask = time.monotonic() + self._ask_s

    def _found_again(self, answer: Answer) -> None:
        """The first answer of a launch that has a record: what lives is taken over, the rest is submitted."""
        if answer.code != 0 and not answer.is_unknown_job:
            self._begin(squeue_command(array.id for array in self._arrays), self._found_again)
            return
        alive = {key: element for key, element in read_squeue(answer.output).items() if not element.has_ended}
        self._keys = {key: number for key, number in self._keys.items() if key in alive}
        self._elements = {number: alive[key] for key, number in self._keys.items()}
        if self._keys:
            _say(f"{count(len(self._keys), 'job')} of this run still in Slurm, waiting for them")
        rest = tuple(number for number in self._numbers if number not in set(self._keys.values()))
        if rest:
            self._queue = [Submission(rest, 0)]  # split when the size of arrays is known
        self._ask_soon()

    def _asked(self, answer: Answer) -> None:
        self._ask_later()
        if answer.code != 0 and not answer.is_unknown_job:
            return
        elements = read_squeue(answer.output)
        missing = {number for key, number in self._keys.items() if key not in elements}
        forgotten, self._missing = missing & self._missing, missing
        for key, element in elements.items():
            if key in self._keys:
                self._take(key, element)
        if forgotten:
            arrays = sorted({array for (array, _), number in self._keys.items() if number in forgotten})
            if shutil.which("sacct"):
                self._begin(sacct_command(arrays), self._accounted)
            else:
                self._accounted(Answer(1, "", ""))
        self._end_what_cannot_start()

    def _accounted(self, answer: Answer) -> None:
        """Elements that the controller no longer names: the accounting knows them, or only their files do."""
        known = read_sacct(answer.output)
        for key, number in list(self._keys.items()):
            if number in self._missing:
                self._take(key, known.get(key, Element(FORGOTTEN)))

    def _take(self, key: Key, element: Element) -> None:
        """What Slurm says about one element."""
        number = self._keys[key]
        if self._elements.get(number) != element:
            self._ask_s = FIRST_ASK_S
            self._next_ask = min(self._next_ask, time.monotonic() + FIRST_ASK_S)
        self._elements[number] = element
        if not element.has_ended:
            return
        del self._keys[key]
        self._missing.discard(number)
        if element.state == FORGOTTEN and self.work.is_done(number):
            element = Element("COMPLETED")
        if element.state == "COMPLETED":
            self.outcomes[number] = Outcome(0)  # which the files of the shard prove, or not
            return
        code = read_status(self.work.status_folder(number)).code or 1
        if element.state == "FAILED" and code == STEP_OUT_OF_MEMORY:
            element = replace(element, state="OUT_OF_MEMORY")
        retried = self._retries.get(number, 0)
        is_hopeless = element.state == "FAILED" and code in USER_MISTAKES
        may_retry = is_worth_a_retry(element) and not is_hopeless and number not in self._reasons
        if may_retry and retried < self.options.max_retries:
            self._retries[number] = retried + 1
            avoid = frozenset([element.node] if re.fullmatch(r"[\w.-]+", element.node) else [])
            self._log(number, f"{self._explain(element)}, trying again")
            self._queue += self._split([number], avoid)
            return
        reason = self._reasons.get(number) or self._explain(element, code)
        if retried:
            reason += f", after {retried} {'retry' if retried == 1 else 'retries'}"
        self._log(number, reason if element.state != "FAILED" else "")
        self.outcomes[number] = Outcome(code, reason)

    def _end_what_cannot_start(self) -> None:
        """End the jobs that Slurm will hold forever, and give its reason."""
        elements = {key: self._element(number) for key, number in self._keys.items()}
        waiting = {key: element.reason for key, element in elements.items() if element.is_waiting}
        held = [key for key, reason in waiting.items() if is_for_ever(reason)]
        limited = [key for key, reason in waiting.items() if is_limit(reason) and not is_for_ever(reason)]
        if self.running() or not limited:
            self._limited_since = None
        elif self._limited_since is None:
            self._limited_since = time.monotonic()
        elif time.monotonic() - self._limited_since >= LIMIT_PATIENCE_S:
            held += limited
        if held:
            self._scancel([f"{array}_{index}" for array, index in held])
        for key in held:
            number, reason = self._keys.pop(key), self._explain(elements[key])
            self._log(number, reason)
            self.outcomes[number] = Outcome(1, reason)

    def _explain(self, element: Element, code: int | None = None) -> str:
        return explain(element, self.work.advice, code)

    def _log(self, number: int, what: str) -> None:
        """Write the last log line of a worker that could not write one itself."""
        if what:
            with open(self.work.log_path(number), "a", encoding="utf-8") as log:
                log.write(f"error: Slurm: {what}\n")

    def _scancel(self, ids: Sequence[str]) -> bool:
        """End them; False, with a message to the user, if Slurm does not answer."""
        if not ids:
            return True
        answer = Call(["scancel", *ids], self._environment, CANCEL_S).wait()
        if answer.is_unreachable:
            _say(f"the controller does not answer: end the jobs with scancel {' '.join(ids)}")
        return not answer.is_unreachable  # another fault: it has ended by itself


def _say(what: str) -> None:
    print(f"Slurm: {what}", file=sys.stderr, flush=True)
