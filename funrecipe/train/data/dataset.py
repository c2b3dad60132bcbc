"""Training data: utterances -> batches of features, prefetched, in the same order with any number of workers.

Both kinds of data, small (``small.py``: listed in memory) and large (``large.py``: streamed from shards), give lists of
:class:`TrainItem`; from there on one loader turns each list into a :class:`Batch`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from funrecipe.coprocess import Coprocess
from funrecipe.errors import DataError
from funrecipe.train.data.batching import Batch, Example, collate, group_under_budget

PROCESS = "funrecipe.train.data.feature_process"


@dataclass(frozen=True)
class TrainItem:
    """One utterance to train on.

    Attributes:
        key: utterance id.
        audio: a path, a Kaldi ark specifier, or ``path:offset:size`` inside a tar shard, as ``kind`` says.
        text: token ids.
        duration_ms: length of the audio (ready features: frames x frame shift).
        kind: ``sound``, ``kaldi_ark`` (ready features), ``tar``, or ``text`` (no audio).
        phones: ids of the auxiliary phone CTC.
        labels: ids of what SenseVoice tells about the speech, -1: not stated; of the marks after the words of a text.
        known: how many of the words of a text come from earlier calls of a stream, -1: not stated.
        speech_ms: start and end of the speech in the audio, for VAD models.
        start_s, end_s: the part of the recording, if the directory has ``segments``.
    """

    key: str
    audio: str
    text: tuple[int, ...]
    duration_ms: float
    kind: str = "sound"
    phones: tuple[int, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    labels: tuple[int, ...] = ()
    known: int = -1
    speech_ms: tuple[tuple[float, float], ...] | None = None

    @property
    def length(self) -> float:
        """What the utterances of a batch have alike, whatever unit it is measured in, so that little is padded."""
        return float(len(self.text)) if self.kind == "text" else self.duration_ms

    def example(self, feats: Tensor) -> Example:
        """This item with its features (T, D)."""
        text = list(self.text)
        if self.speech_ms is not None:
            text = frame_labels(self.speech_ms, self.duration_ms, len(feats))
        return Example(self.key, feats, text, list(self.phones), list(self.labels), self.known)


def frame_labels(speech_ms: Sequence[tuple[float, float]], duration_ms: float, frames: int) -> list[int]:
    """1 for each of ``frames`` whose middle is in ``speech_ms``, else 0.

    The frames share ``duration_ms`` equally, so that labels fit audio whose speed was changed.
    """
    labels = [0] * frames
    for start_ms, end_ms in speech_ms:
        first, last = (math.ceil(frames * time_ms / duration_ms - 0.5) for time_ms in (start_ms, end_ms))
        labels[first:last] = [1] * (last - first)
    return labels


@dataclass(frozen=True)
class ItemLimits:
    """What is kept: durations strictly between these, texts with fewer tokens (FunASR, large: 100-15000 ms, 200)."""

    min_ms: float = 100.0
    max_ms: float = 30000.0
    max_tokens: int = 200
    ms_per_token: float = 60.0  # one encoder frame: each token needs at least one
    blank_id: int | None = None  # where <unk> is also CTC's blank, no text may hold it

    def fault(self, duration_ms: float, text: Sequence[int]) -> str | None:
        """Why an item of this length and these token ids is left out, or None."""
        tokens = len(text)
        if duration_ms <= self.min_ms:
            return f"audio not longer than {self.min_ms:g} ms"
        if duration_ms >= self.max_ms:
            return f"audio not shorter than {self.max_ms:g} ms"
        if not tokens:
            return "empty text"
        if tokens >= self.max_tokens:
            return f"text not shorter than {self.max_tokens} tokens"
        if tokens * self.ms_per_token > duration_ms:
            return "more tokens than the audio can hold"
        if self.blank_id is not None and self.blank_id in text:
            return "text that the vocabulary cannot write"
        return None


Label = Callable[[str, str], tuple[tuple[int, ...], str]]
"""``(key, text) -> (ids of rich labels, text without tags)``."""

Featurize = Callable[[TrainItem, random.Random | None], Tensor]
"""``(item, chooser)`` -> ``feats`` (T, D): augmented with the choices of a chooser, plain if that is None."""


class BatchPlan(Protocol):
    """What a data set is to the loader."""

    def batches(self, epoch: int) -> Iterable[Sequence[TrainItem]]:
        """This rank's batches of an epoch, the same ones whenever asked; a batch may be empty (uneven ranks)."""


def chooser_for(seed: int, epoch: int, key: str) -> random.Random:
    """The random choices of one utterance in one epoch, whichever rank or worker handles it."""
    return random.Random(f"{seed}-{epoch}-{key}")


@dataclass
class BatchBuilder:
    """Makes a batch of a list of items.

    Attributes:
        featurize: audio -> features of one utterance.
        augment: whether utterances get a chooser (training) or not (validation).
    """

    featurize: Featurize
    seed: int = 0
    augment: bool = True

    def build(self, group: Sequence[TrainItem], epoch: int) -> tuple[Batch | None, dict[str, str]]:
        """One batch, longest utterance first, None where nothing is left of it; and why items are left out, by key."""
        examples: list[Example] = []
        failed: dict[str, str] = {}
        for item in group:
            chooser = chooser_for(self.seed, epoch, item.key) if self.augment else None
            try:
                feats = self.featurize(item, chooser)
            except DataError as error:  # one damaged file must neither end a long run nor go unnoticed
                failed[item.key] = str(error)
                continue
            examples.append(item.example(feats))
        examples.sort(key=lambda e: -len(e.feats))
        return collate(examples) if examples else None, failed


class BatchLoader:
    """Planned batches, computed ahead by threads (reading audio and FFTs release Python's lock) or, for a GPU, which
    wants more than one interpreter gives, by processes.

    Args:
        plan: the batches.
        builder: makes them.
        workers: number of threads or processes; 0 computes in the calling thread.
        prefetch_batches: how many batches may be computed ahead; at least one for each process.
        in_processes: processes, and batches in memory that a GPU copies from by itself.
    """

    def __init__(
        self,
        plan: BatchPlan,
        builder: BatchBuilder,
        *,
        workers: int = 1,
        prefetch_batches: int = 4,
        in_processes: bool = False,
    ) -> None:
        self.plan, self.builder, self.workers = plan, builder, workers
        self.in_processes = in_processes and workers > 0
        self.prefetch_batches = max(1, prefetch_batches, workers if self.in_processes else 1)
        self.failed: dict[str, str] = {}  # key -> why it could not be read

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Batch | None]]:
        """``(index, batch)`` of every batch from ``start`` on (resuming); None where this rank has nothing to do.

        Raises:
            WorkerError: a process has ended.
        """
        planned = ((index, group) for index, group in enumerate(self.plan.batches(epoch)) if index >= start)
        if self.workers == 0:
            for index, group in planned:
                yield index, self._noted(self.builder.build(group, epoch))
            return
        with self._pool() as build:
            waiting: deque[tuple[int, Future[Any]]] = deque()
            for index, group in planned:
                waiting.append((index, build(group, epoch)))
                if len(waiting) > self.prefetch_batches:
                    ready, future = waiting.popleft()
                    yield ready, self._noted(future.result())
            while waiting:
                ready, future = waiting.popleft()
                yield ready, self._noted(future.result())

    @contextlib.contextmanager
    def _pool(self) -> Iterator[Callable[[Sequence[TrainItem], int], Future[Any]]]:
        """``(group, epoch)`` -> what the builder makes of them, later."""
        if not self.in_processes:
            pool = ThreadPoolExecutor(self.workers, thread_name_prefix="features")
            try:
                yield partial(pool.submit, self.builder.build)
            finally:
                pool.shutdown(cancel_futures=True)
            return
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {"CUDA_VISIBLE_DEVICES": ""}
        processes = [
            Coprocess(PROCESS, settings=self.builder, does="makes training batches", environment=single)
            for _ in range(self.workers)
        ]
        turn = itertools.cycle(processes)
        try:
            yield lambda group, epoch: next(turn).ask((group, epoch))
        finally:
            for process in processes:
                process.end()

    def _noted(self, made: tuple[Any, dict[str, str]]) -> Batch | None:
        """The batch; what is left out of it is remembered."""
        batch, failed = made
        self.failed.update(failed)
        if batch is None or isinstance(batch, Batch):
            return batch
        whole = Batch.of_arrays(batch)
        return whole.pinned() if torch.cuda.is_available() else whole


@dataclass
class SmallPlan:
    """Batches of a list that is in memory: similar lengths together, in an order shuffled by (seed, pass).

    Equal lengths are shuffled too, so that the same utterances do not meet in every epoch. Every rank computes the same
    global batches and takes every ``world_size``-th item of each, so no utterance is seen twice and none is left out.

    Attributes:
        costs: what each utterance counts against ``budget``.
        passes: how often the list is gone through in one epoch, each time in another order.
    """

    utterances: Sequence[TrainItem]
    costs: Sequence[float]
    budget: float
    seed: int = 0
    shuffle: bool = True
    passes: int = 1
    rank: int = 0
    world_size: int = 1

    def batches(self, epoch: int) -> list[list[TrainItem]]:
        """This rank's part of every global batch; empty if the last batch has fewer items than there are ranks."""
        passes = range(epoch * self.passes, (epoch + 1) * self.passes)
        together = [batch for number in passes for batch in self.global_batches(number)]
        return [[self.utterances[i] for i in batch[self.rank :: self.world_size]] for batch in together]

    def global_batches(self, number: int) -> list[list[int]]:
        """The batches of one pass of all ranks, by numbers of utterances."""
        chooser = random.Random(f"{self.seed}-{number}")
        # Lengths blurred by up to 5 %: other neighbors in every epoch, hardly more padding.
        lengths = [item.length for item in self.utterances]
        if self.shuffle:
            lengths = [length * (1 + 0.05 * chooser.random()) for length in lengths]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        budget = self.budget * self.world_size
        batches = list(group_under_budget(order, self.costs.__getitem__, budget, min_size=self.world_size))
        if self.shuffle:
            chooser.shuffle(batches)
        return batches
