"""A process of this program that answers requests one after the other, and ends with the one that started it.

For what threads cannot do at the same time because they share one interpreter. Requests and answers are pickles over
pipes between the two, which nobody else can write to.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from funrecipe.errors import WorkerError
from funrecipe.processes import PARENT_VARIABLE, end_with_parent

END_S = 2.0


class Coprocess:
    """``python -m module arguments``, whose module calls :func:`serve`, and the thread that talks to it.

    Args:
        settings: the first thing that it is told.
        does: what it does, for messages: "reads audio".
        pass_fds: descriptors that it inherits.
        environment: variables that differ from those of this process.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        settings: Any,
        does: str,
        pass_fds: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.does = does
        self.requests: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=pass_fds,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid()), **(environment or {})},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._to, self._from = self.process.stdin, self.process.stdout
        self._say(settings)
        self.thread = threading.Thread(target=self._talk, name="coprocess", daemon=True)
        self.thread.start()

    def ask(self, request: Any) -> Future[Any]:
        """The answer, later. Its ``result`` raises WorkerError if the process has ended before it answered."""
        answer: Future[Any] = Future()
        self.requests.put((request, answer))
        return answer

    def end(self) -> None:
        """End the process and the thread. What is unanswered stays so."""
        self.requests.put(None)
        self.process.terminate()
        self._status()
        self.thread.join()
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError):
                stream.close()

    def _status(self) -> int:
        """Exit status of the process, which is killed unless it ends soon."""
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _say(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # of a process that has ended; its answer will be missing
            pickle.dump(message, self._to, protocol=5)
            self._to.flush()

    def _talk(self) -> None:
        for request, answer in iter(self.requests.get, None):
            self._say(request)
            try:
                answer.set_result(pickle.load(self._from))
            except Exception:  # half an answer can fail in any way, and whoever waits for it must be told
                what = f"a process that {self.does} has ended (status {self._status()})"
                hint = "rerun to resume; the log has what it said, if anything"
                answer.set_exception(WorkerError(what, hint=hint))


def serve(make: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Answer requests by what ``make`` gives for the settings, until there are no more. For the started process."""
    end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes where errors go
    requests = sys.stdin.buffer
    try:
        answer = make(pickle.load(requests))
        while True:
            pickle.dump(answer(pickle.load(requests)), answers, protocol=5)
            answers.flush()
    except (EOFError, BrokenPipeError):
        return
