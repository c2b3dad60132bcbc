"""Processes that read audio into memory that they share with the worker, where it lies padded for the device.

One interpreter decodes about 4,000 seconds of FLAC per second, however many threads it has; a GPU wants more. The
memory has no name, so it never outlives the worker, and the processes end with the worker.
"""

from __future__ import annotations

import itertools
import mmap
import os
import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funrecipe.audio.padded import PaddedWaves
from funrecipe.coprocess import Coprocess
from funrecipe.errors import WorkerError
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.shards import ShardEntry
from funrecipe.recordings.joining import TileOf

BUFFERS = 4  # batches in memory: two that are computed, one that is complete, one that is being filled
READ_AHEAD = 4  # utterances that each process may have read, or be asked for
READER = "funrecipe.jobs.read_process"

Fail = Callable[[ShardEntry, str], None]


@dataclass
class Batch:
    """Utterances to decode together.

    Attributes:
        waves: their waveforms.
        release: call it when they are no longer needed.
    """

    entries: Sequence[ShardEntry]
    waves: Sequence[np.ndarray]
    release: Callable[[], None] = lambda: None


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
        pin: called with the memory, before it is used; returns what is called before the memory is freed.
    """

    def __init__(
        self,
        settings: ReadSettings,
        count: int,
        buffer_samples: int,
        channels: dict[str, int],
        pin: Callable[[np.ndarray], Callable[[], None]] = lambda memory: lambda: None,
    ) -> None:
        self.settings, self.buffer_samples, self.channels = settings, buffer_samples, channels
        memory_fd = os.memfd_create("audio")
        try:
            os.ftruncate(memory_fd, BUFFERS * buffer_samples * 4)
            self.memory = np.frombuffer(mmap.mmap(memory_fd, 0), dtype=np.float32)
            self._unpin = pin(self.memory)
            self.processes: list[Coprocess] = []
            try:
                for _ in range(count):
                    self.processes.append(
                        Coprocess(READER, str(memory_fd), settings=settings, does="reads audio", pass_fds=(memory_fd,))
                    )
            except BaseException:
                self.__exit__()
                raise
        finally:
            os.close(memory_fd)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(BUFFERS):
            self._free.put(number * buffer_samples)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.end()
        self._unpin()

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

    def _read(self, entries: Sequence[ShardEntry], fail: Fail) -> Iterator[tuple[ShardEntry, Coprocess, int]]:
        """Each utterance that can be read, the process that has it, and its number of samples."""
        waiting: deque[tuple[ShardEntry, Coprocess, Future[dict[str, Any]]]] = deque()
        todo = zip(entries, itertools.cycle(self.processes))
        while True:
            for entry, process in itertools.islice(todo, READ_AHEAD * len(self.processes) - len(waiting)):
                waiting.append((entry, process, process.ask({"read": entry})))
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
                raise WorkerError(f"audio did not reach the worker: {said}", where="readers")
        count, width = len(filling.entries), filling.shape[0]
        matrix = self.memory[filling.start : filling.start + count * width].reshape(count, width)
        waves = PaddedWaves(matrix, tuple(filling.lens))
        return Batch(filling.entries, waves, lambda: self._free.put(filling.start))
