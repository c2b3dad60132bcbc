"""Decode one shard: read ahead, batch by length, survive bad audio and full memory, write as it goes."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, cast

import numpy as np

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.errors import DataError, FunrecipeError, WorkerError
from funrecipe.jobs.read_process import reason_of
from funrecipe.jobs.readers import Batch, Fail, Readers
from funrecipe.jobs.shards import ShardEntry
from funrecipe.recordings.joining import PieceRecognizer

# A batch holds at most this much audio, padding counted; a longer utterance is a batch by itself. On a CPU, more is
# slower: a 3.0 M Paraformer on one core took 3.2 ms per second of single utterances, 1.6 in batches of 35-70 s, 2.6
# in batches of 280 s.
BATCH_AUDIO_S = {"cpu": 50.0, "cuda": 1200.0}
READERS = 2


class Recognizer(Protocol):
    """What the worker needs from ``decode.recognizer.Recognizer``."""

    sample_rate_hz: int

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> Sequence[Hypothesis]: ...


class Writer(Protocol):
    """What the loop writes to: ``jobs.results.ShardWriter``, or results kept in memory."""

    @property
    def done(self) -> Mapping[str, object]: ...

    @property
    def write(self) -> Callable[..., None]: ...

    def fail(self, key: str, audio: str, reason: str) -> None: ...


def decode_shard(
    entries: Sequence[ShardEntry],
    writer: Writer,
    recognizer: Recognizer,
    read: Callable[[ShardEntry], np.ndarray],
    *,
    batch_size: int,
    batch_audio_s: float,
    on_batch: Callable[[], None],
    readers: Readers | None = None,
) -> None:
    """Decode what ``writer`` does not have yet.

    Args:
        read: gives the waveform (S,) of an entry at the recognizer's rate, or raises.
        batch_size: maximum number of utterances in a batch; of a recognizer that computes in tiles, a batch is a tile.
        batch_audio_s: most seconds in a batch, each utterance counted as long as the longest.
        on_batch: called after every batch (heartbeat).
        readers: read in place of ``read`` and its threads; two batches are then decoded at a time, so that one
            becomes text while the device has the other.
    Raises:
        WorkerError: results cannot be written. Errors of single utterances end in ``failed.scp``.
    """
    # Longest first: the batch that needs most memory comes at once, and neighbors are of similar length.
    todo = sorted((e for e in entries if e.id not in writer.done), key=lambda e: (-e.cost_s, e.id))
    pieces = PieceRecognizer(cast(Any, recognizer), batch_audio_s=batch_audio_s, batch_size=batch_size)
    decoder = _Decoder(recognizer, pieces, writer)
    if readers:
        batches = readers.batches(todo, pieces.tile_of, decoder.fail)
    else:
        batches = _batches(_read_ahead(todo, decoder.fail, read, batch_audio_s), pieces)
    for _ in _some_at_a_time(decoder.decode, batches, 2 if readers else 1):
        with decoder.lock:
            on_batch()


class _Decoder:
    """Decodes batches and writes their results, in one thread or several.

    Attributes:
        lock: held while something is written.
    """

    def __init__(self, recognizer: Recognizer, pieces: PieceRecognizer, writer: Writer) -> None:
        self._recognizer, self._pieces, self._writer = recognizer, pieces, writer
        self.lock = threading.Lock()

    def decode(self, batch: Batch) -> None:
        try:
            self._decode(batch.entries, batch.waves)
        finally:
            batch.release()

    def fail(self, entry: ShardEntry, reason: str) -> None:
        with self.lock:
            self._writer.fail(entry.id, entry.audio, reason)

    def _decode(self, entries: Sequence[ShardEntry], waves: Sequence[np.ndarray]) -> None:
        """Decode and write; on an error halve the batch, so that only the utterance at fault fails.

        Lack of memory does not get here: ``PieceRecognizer`` handles it.
        """
        started = time.perf_counter()
        try:
            hypotheses = self._recognize(entries, waves)
            reason = None
        except Exception as error:
            if isinstance(error, FunrecipeError) and not isinstance(error, DataError):
                raise
            reason = reason_of(error)
        if reason is None:
            self._write(entries, waves, hypotheses, time.perf_counter() - started)
        elif len(entries) == 1:
            self.fail(entries[0], reason)
        else:  # outside the except clause, whose traceback keeps the memory of the failed call alive
            middle = len(entries) // 2
            self._decode(entries[:middle], waves[:middle])
            self._decode(entries[middle:], waves[middle:])

    def _recognize(self, entries: Sequence[ShardEntry], waves: Sequence[np.ndarray]) -> Sequence[Hypothesis]:
        if all(entry.text is None for entry in entries):
            return self._pieces.transcribe(waves)
        return cast(Any, self._recognizer).transcribe(waves, [entry.text for entry in entries])

    def _write(
        self,
        entries: Sequence[ShardEntry],
        waves: Sequence[np.ndarray],
        hypotheses: Sequence[Hypothesis],
        elapsed_s: float,
    ) -> None:
        """Write a decoded batch; its time is divided in proportion to length."""
        seconds = [len(wave) / self._pieces.sample_rate_hz for wave in waves]
        with self.lock:
            for entry, hypothesis, audio_s in zip(entries, hypotheses, seconds, strict=True):
                share = audio_s / sum(seconds) if sum(seconds) else 1 / len(entries)
                _write(entry, hypothesis, audio_s, elapsed_s * share, self._writer)


def _some_at_a_time(decode: Callable[[Batch], None], batches: Iterator[Batch], width: int) -> Iterator[None]:
    """Decode the batches, ``width`` of them at a time; yields after each."""
    if width == 1:
        yield from map(decode, batches)
        return
    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(width, thread_name_prefix="decode") as pool:
        for batch in batches:
            running.append(pool.submit(decode, batch))
            while len(running) > width:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _read_ahead(
    entries: Sequence[ShardEntry], fail: Fail, read: Callable[[ShardEntry], np.ndarray], limit_s: float
) -> Iterator[tuple[ShardEntry, np.ndarray]]:
    """Entries with their waveforms (S,), read in threads at most ``limit_s`` seconds of audio ahead."""
    waiting = deque(entries)
    ahead: deque[tuple[ShardEntry, Future[np.ndarray]]] = deque()
    ahead_s = 0.0
    with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
        try:
            while waiting or ahead:
                while waiting and (not ahead or ahead_s < limit_s):
                    entry = waiting.popleft()
                    ahead.append((entry, pool.submit(read, entry)))
                    ahead_s += entry.cost_s
                entry, future = ahead.popleft()
                ahead_s -= entry.cost_s
                try:
                    waveform = future.result()
                except Exception as error:  # whatever an audio decoder raises concerns this file only
                    if isinstance(error, WorkerError):  # except that the file is not the one that was planned
                        raise
                    fail(entry, reason_of(error))
                    continue
                yield entry, waveform
        finally:
            for _, future in ahead:
                future.cancel()


def _batches(loaded: Iterator[tuple[ShardEntry, np.ndarray]], pieces: PieceRecognizer) -> Iterator[Batch]:
    """Utterances that are decoded together: of one shape, as many as ``tile_of`` and ``batch_samples`` allow."""
    entries: list[ShardEntry] = []
    waves: list[np.ndarray] = []
    longest = 0
    shape: tuple[int, ...] = ()
    for entry, wave in loaded:
        wave_shape, most = pieces.tile_of(len(wave))
        is_too_much = (len(entries) + 1) * max(longest, len(wave)) > pieces.batch_samples
        if entries and (is_too_much or wave_shape != shape):
            yield Batch(entries, waves)
            entries, waves, longest = [], [], 0
        entries.append(entry)
        waves.append(wave)
        longest, shape = max(longest, len(wave)), wave_shape
        if len(entries) == most:  # at once: the next utterance may be long in coming
            yield Batch(entries, waves)
            entries, waves, longest = [], [], 0
    if entries:
        yield Batch(entries, waves)


def _write(entry: ShardEntry, hypothesis: Hypothesis, audio_s: float, decode_s: float, writer: Writer) -> None:
    if not math.isfinite(hypothesis.score):
        writer.fail(entry.id, entry.audio, f"the score is {hypothesis.score}")
        return
    writer.write(
        entry.id,
        tokens=hypothesis.tokens,
        text=hypothesis.text,
        score=hypothesis.score,
        timestamp_ms=hypothesis.timestamp_ms,
        nbest=None if hypothesis.nbest is None else [(h.tokens, h.text, h.score) for h in hypothesis.nbest],
        rich=hypothesis.rich,
        is_estimated=hypothesis.is_estimated,
        audio_s=audio_s,
        decode_s=decode_s,
    )
