"""Processes that read audio into memory that they share with the worker, where it lies padded for the device.

One interpreter decodes about 4,000 seconds of FLAC per second, however many threads it has; a GPU wants more. The
memory has no name, so nothing of it remains whatever happens, and the processes end with the worker.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from funrecipe.audio.padded import PaddedWaves
from funrecipe.errors import WorkerError
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.shards import ShardEntry
from funrecipe.processes import PARENT_VARIABLE

BUFFERS = 4  # batches in memory: two that are computed, one that is complete, one that is being filled
READ_AHEAD = 4  # utterances that each process may have read, or be asked for
END_S = 2.0

TileOf = Callable[[int], tuple[tuple[int, ...], int]]
Fail = Callable[[ShardEntry, str], None]


@dataclass
class Batch:
    """Utterances to decode together.

    Attributes:
        waves: their waveforms.
        release: to be called when they are not needed any more.
    """

    entries: Sequence[ShardEntry]
    waves: Sequence[np.ndarray]
    release: Callable[[], None] = lambda: None


class _Process:
    """One of the processes, and the thread that talks to it, request by request."""

    def __init__(self, memory_fd: int, settings: ReadSettings) -> None:
        self.requests: queue.SimpleQueue[tuple[dict[str, Any], Future[dict[str, Any]]] | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "funrecipe.jobs.read_process", str(memory_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(memory_fd,),
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            text=True,
            encoding="utf-8",
        )
        self._say(asdict(settings))
        self.thread = threading.Thread(target=self._talk, name="reader", daemon=True)
        self.thread.start()

    def ask(self, request: dict[str, Any]) -> Future[dict[str, Any]]:
        answer: Future[dict[str, Any]] = Future()
        self.requests.put((request, answer))
        return answer

    def end(self) -> None:
        self.requests.put(None)
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()

    def _say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # of a process that has ended; its answer will be missing
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _talk(self) -> None:
        assert self.process.stdout is not None
        for request, answer in iter(self.requests.get, None):
            self._say(request)
            line = self.process.stdout.readline()
            if line:
                answer.set_result(json.loads(line))
            else:
                what = f"a process that reads audio has ended (status {self.process.wait()})"
                hint = "rerun to resume; with the log of the job, if it happens again"
                answer.set_exception(WorkerError(what, where=str(request.get("read", request)), hint=hint))


@dataclass
class _Filling:
    """A batch that is being put together in the memory from sample ``start`` on."""

    start: int
    shape: tuple[int, ...]
    rows: int
    entries: list[ShardEntry] = field(default_factory=list)
    lens: list[int] = field(default_factory=list)
    put: list[Future[dict[str, Any]]] = field(default_factory=list)


class Readers:
    """``count`` processes and ``BUFFERS`` buffers of ``buffer_samples`` float32 samples. A context manager.

    Args:
        channels: gets the number of channels of audio that has several.
        pin: called with the memory, before it is used.
    """

    def __init__(
        self,
        settings: ReadSettings,
        count: int,
        buffer_samples: int,
        channels: dict[str, int],
        pin: Callable[[np.ndarray], None] = lambda memory: None,
    ) -> None:
        self.settings, self.buffer_samples, self.channels = settings, buffer_samples, channels
        memory_fd = os.memfd_create("audio")
        try:
            os.ftruncate(memory_fd, BUFFERS * buffer_samples * 4)
            self.memory = np.frombuffer(mmap.mmap(memory_fd, 0), dtype=np.float32)
            pin(self.memory)
            self.processes = [_Process(memory_fd, settings) for _ in range(count)]
        finally:
            os.close(memory_fd)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(BUFFERS):
            self._free.put(number * buffer_samples)

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.end()

    def batches(self, entries: Sequence[ShardEntry], tile_of: TileOf, fail: Fail) -> Iterator[Batch]:
        """Batches in the order of ``entries``, each of one shape and as many as ``tile_of`` their samples says.

        Args:
            fail: called with an utterance that cannot be read, and why.

        Raises:
            WorkerError: the audio is not the one that was planned, or a process has ended.
        """
        filling: _Filling | None = None
        for entry, process, samples in self._read(entries, fail):
            shape, rows = tile_of(samples)
            if filling and (filling.shape != shape or len(filling.entries) == filling.rows):
                yield self._finish(filling)
                filling = None
            if shape[0] > self.buffer_samples:  # a long recording: read again, by this process
                process.ask({"drop": entry.id})
                yield Batch([entry], [read_entry(entry, self.settings, self.channels)])
                continue
            filling = filling or _Filling(self._free.get(), shape, min(rows, self.buffer_samples // shape[0]))
            start = filling.start + len(filling.entries) * shape[0]
            filling.put.append(process.ask({"put": entry.id, "start": start, "room": shape[0]}))
            filling.entries.append(entry)
            filling.lens.append(samples)
        if filling:
            yield self._finish(filling)

    def _read(self, entries: Sequence[ShardEntry], fail: Fail) -> Iterator[tuple[ShardEntry, _Process, int]]:
        """Each utterance that can be read, the process that has it, and its number of samples."""
        waiting: deque[tuple[ShardEntry, _Process, Future[dict[str, Any]]]] = deque()
        todo = zip(entries, itertools.cycle(self.processes))
        while True:
            for entry, process in itertools.islice(todo, READ_AHEAD * len(self.processes) - len(waiting)):
                waiting.append((entry, process, process.ask({"read": asdict(entry)})))
            if not waiting:
                return
            entry, process, future = waiting.popleft()
            answer = future.result()
            if "fatal" in answer:
                raise WorkerError(answer["fatal"], where=answer["where"], hint=answer["hint"])
            if "error" in answer:
                fail(entry, answer["error"])
                continue
            if answer["channels"] > 1:
                self.channels[entry.id] = answer["channels"]
            yield entry, process, answer["samples"]

    def _finish(self, filling: _Filling) -> Batch:
        for future in filling.put:
            if said := future.result():
                raise WorkerError(f"audio was lost on the way: {said}", where="readers")
        count, width = len(filling.entries), filling.shape[0]
        matrix = self.memory[filling.start : filling.start + count * width].reshape(count, width)
        waves = PaddedWaves(matrix, tuple(filling.lens))
        return Batch(filling.entries, waves, lambda: self._free.put(filling.start))
