"""Processes that read for a worker: the same batches as from threads, and no loss or leftover when something fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from funrecipe.audio.padded import PaddedWaves
from funrecipe.decode.fixed_shapes import Tile
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import WorkerError
from funrecipe.identity import file_stamp
from funrecipe.jobs import read_process
from funrecipe.jobs.decode_shard import decode_shard
from funrecipe.jobs.readers import Readers
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.results import NO_MEMORY, ShardWriter
from funrecipe.jobs.shards import ShardEntry
from funrecipe.model_folder import open_model_folder

RATE_HZ = 8000
PARAFORMER = Path(__file__).resolve().parents[1] / "data/parity/paraformer"


@dataclass
class Said:
    tokens: list[str]
    text: str
    score: float = 0.0
    timestamp_ms: None = None
    nbest: None = None
    rich: None = None
    is_estimated: bool = False


class Summing:
    """Says the length and the sum of a waveform; pads to multiples of 100 samples, and computes 400 at once."""

    sample_rate_hz = RATE_HZ

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def tile_of(self, samples: int) -> tuple[tuple[int, ...], int]:
        padded = -(-samples // 100) * 100
        return (padded,), max(1, 400 // padded)

    def transcribe(self, waveforms):
        self.batches.append([len(wave) for wave in waveforms])
        if isinstance(waveforms, PaddedWaves):
            for row, wave in zip(waveforms.matrix, waveforms, strict=True):
                assert not row[len(wave) :].any()
        return [Said([str(len(wave))], f"{float(np.sum(wave)):.4f}") for wave in waveforms]


def corpus(folder: Path, *lengths: int) -> list[ShardEntry]:
    rng = np.random.default_rng(1)
    entries = []
    for number, length in enumerate(lengths):
        path = folder / f"u{number:02}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, length), RATE_HZ)
        entries.append(ShardEntry(f"u{number:02}", str(path), None, None, length / RATE_HZ, file_stamp(str(path))))
    return entries


def decode(folder: Path, entries: list[ShardEntry], recognizer, readers: Readers | None = None) -> ShardWriter:
    settings = ReadSettings(recognizer.sample_rate_hz)
    with ShardWriter(folder, {entry.id: entry.stamp for entry in entries}) as writer:
        decode_shard(entries, writer, recognizer, lambda entry: read_entry(entry, settings, {}), batch_size=8,
                     batch_audio_s=60.0, on_batch=writer.flush, readers=readers)  # fmt: skip
    return writer


def results(folder: Path) -> list[str]:
    return [(folder / "1best_recog" / name).read_text() for name in ("text", "token")]


def readers(count: int = 2, room: int = 400, channels: dict[str, int] | None = None) -> Readers:
    return Readers(ReadSettings(RATE_HZ), count, room, {} if channels is None else channels)


def test_processes_and_threads_give_the_same(tmp_path: Path) -> None:
    entries = corpus(tmp_path, *[30, 90, 110, 250, 399, 60, 61, 62, 63, 64, 180, 190, 950, 1])
    by_threads, by_processes = Summing(), Summing()
    decode(tmp_path / "threads", entries, by_threads)
    with readers() as processes:
        decode(tmp_path / "processes", entries, by_processes, processes)
    assert results(tmp_path / "processes") == results(tmp_path / "threads")
    assert sorted(by_processes.batches) == sorted(by_threads.batches)
    assert [950] in by_processes.batches  # too long for a buffer
    assert max(map(len, by_processes.batches)) == 4


def test_a_real_recognizer_takes_what_lies_padded_in_the_memory(tmp_path: Path) -> None:
    entries = corpus(tmp_path, 9000, 8000, 4000, 100)
    recognizer = load_recognizer(open_model_folder(PARAFORMER), tile=Tile(64))
    settings = ReadSettings(recognizer.sample_rate_hz)
    decode(tmp_path / "threads", entries, recognizer)
    with Readers(settings, 1, recognizer.tile_samples, {}) as processes:
        decode(tmp_path / "processes", entries, recognizer, processes)
    assert results(tmp_path / "processes") == results(tmp_path / "threads")


def test_audio_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    entries = corpus(tmp_path, 100, 100, 100, 90)
    Path(entries[1].audio).write_bytes(b"no audio")
    entries[1] = ShardEntry(entries[1].id, entries[1].audio, duration_s=0.0125)
    with readers() as processes:
        writer = decode(tmp_path / "out", entries, Summing(), processes)
    assert sorted(writer.done) == ["u00", "u02", "u03"]
    assert list(writer.failed) == ["u01"] and "cannot read audio" in writer.failed["u01"]


def test_audio_for_which_there_is_no_memory_is_no_bad_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(read_process, "read_entry", no_room)
    answer = read_process.reading_into(np.zeros(1, np.float32), ReadSettings(RATE_HZ))
    assert answer({"read": ShardEntry("u", "/a.wav")})["error"].startswith(NO_MEMORY)


def test_channels_are_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "stereo.wav", np.zeros((50, 2)), RATE_HZ)
    channels: dict[str, int] = {}
    with readers(channels=channels) as processes:
        decode(tmp_path / "out", [ShardEntry("s", str(tmp_path / "stereo.wav"))], Summing(), processes)
    assert channels == {"s": 2}


def test_audio_that_has_changed_ends_the_job(tmp_path: Path) -> None:
    entries = corpus(tmp_path, 100, 100)
    soundfile.write(entries[1].audio, np.zeros(33), RATE_HZ)
    with readers() as processes, pytest.raises(WorkerError, match="has changed since the plan was made"):
        decode(tmp_path / "out", entries, Summing(), processes)


def test_a_reader_that_is_killed_ends_the_job_and_what_is_decoded_counts(tmp_path: Path) -> None:
    entries = corpus(tmp_path, *[400] * 30)

    class Killing(Summing):
        def transcribe(self, waveforms):
            if len(self.batches) == 5:
                os.kill(processes.processes[0].process.pid, signal.SIGKILL)
            return super().transcribe(waveforms)

    with readers() as processes, pytest.raises(WorkerError, match="a process that reads audio has ended"):
        decode(tmp_path / "out", entries, Killing(), processes)
    with readers() as processes:
        again = Summing()
        decode(tmp_path / "out", entries, again, processes)
    assert 0 < len(again.batches) < 30
    assert len((tmp_path / "out/1best_recog/text").read_text().splitlines()) == 30


def test_an_error_of_the_recognizer_hits_one_utterance(tmp_path: Path) -> None:
    class Poisoned(Summing):
        def transcribe(self, waveforms):
            if 97 in [len(wave) for wave in waveforms]:
                raise RuntimeError("this one is odd")
            return super().transcribe(waveforms)

    with readers() as processes:
        writer = decode(tmp_path / "out", corpus(tmp_path, 99, 98, 97, 96), Poisoned(), processes)
    assert list(writer.failed) == ["u02"] and len(writer.done) == 3


WORKER = """
import sys, time
from funrecipe.jobs.readers import Readers
from funrecipe.jobs.reading import ReadSettings
readers = Readers(ReadSettings(8000), 2, 100, {})
print(*[process.process.pid for process in readers.processes], flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_readers_end_with_a_worker_that_is_killed() -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_alive, pids))
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, pids))
    worker.stdout.close()


def test_readers_end_with_the_job() -> None:
    with readers() as processes:
        pids = [process.process.pid for process in processes.processes]
    assert not any(map(is_alive, pids))


class Runtime:
    """Of CUDA, what pins memory; ``status``: what it answers."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.pinned = status, dict[int, int]()

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802  (CUDA's names)
        if self.status == 0:
            self.pinned[address] = size
        return self.status

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        del self.pinned[address]
        return 0


@pytest.mark.parametrize("status", [0, 2])
def test_memory_is_unpinned_when_the_job_ends(monkeypatch, status: int) -> None:
    runtime, waits = Runtime(status), []
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(dict(runtime.pinned)))
    recognizer = load_recognizer(open_model_folder(PARAFORMER), tile=Tile(32))
    with Readers(ReadSettings(RATE_HZ), 1, 100, {}, recognizer.pin) as processes:
        pinned = {processes.memory.ctypes.data: processes.memory.nbytes} if status == 0 else {}
        assert runtime.pinned == pinned
    assert not runtime.pinned
    assert waits == ([pinned] if pinned else [])  # a copy that is under way still reads the memory


def test_memory_is_unpinned_when_a_reader_cannot_be_started(monkeypatch) -> None:
    pinned: list[np.ndarray] = []

    def pin(memory: np.ndarray):
        pinned.append(memory)
        return pinned.clear

    def fail(*args, **kwargs):
        assert pinned
        raise OSError("no more processes")

    monkeypatch.setattr("funrecipe.jobs.readers.Coprocess", fail)
    with pytest.raises(OSError, match="no more processes"):
        Readers(ReadSettings(RATE_HZ), 1, 100, {}, pin)
    assert not pinned
