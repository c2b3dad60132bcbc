"""The worker's loop with a recognizer that says what it was given."""

from __future__ import annotations

import os
import wave
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from funrecipe.errors import DataError
from funrecipe.jobs import worker
from funrecipe.jobs.decode_shard import decode_shard
from funrecipe.jobs.model_record import ModelRecord
from funrecipe.jobs.plan import Plan
from funrecipe.jobs.results import ShardWriter
from funrecipe.jobs.shards import ShardEntry
from funrecipe.jobs.split import Draft

RATE_HZ = 100


@dataclass
class Said:
    tokens: list[str]
    text: str
    score: float
    timestamp_ms: list[list[int]] | None = None
    nbest: None = None
    rich: None = None
    is_estimated: bool = False


class FakeRecognizer:
    """Says the number of samples; refuses batches beyond ``memory`` padded samples, and ``poison`` always."""

    sample_rate_hz = RATE_HZ

    def __init__(self, memory: int = 10**9, poison: int = -1) -> None:
        self.memory, self.poison, self.batches = memory, poison, []

    def transcribe(self, waveforms):
        lengths = [len(wave) for wave in waveforms]
        self.batches.append(lengths)
        if max(lengths) * len(lengths) > self.memory:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        if self.poison in lengths:
            raise RuntimeError("this one is odd")
        return [Said([str(n)], str(n), float(-n)) for n in lengths]


def decode(tmp_path: Path, recognizer, lengths: list[int], *, batch_size: int = 4, batch_audio_s: float = 1e9):
    entries = [ShardEntry(f"u{n:02}", str(samples), duration_s=samples / RATE_HZ) for n, samples in enumerate(lengths)]

    def read(entry: ShardEntry) -> np.ndarray:
        if int(entry.audio) == 13:
            raise DataError("no such file", where=entry.audio)
        return np.zeros(int(entry.audio), dtype=np.float32)

    with ShardWriter(tmp_path, {entry.id: "" for entry in entries}) as writer:
        decode_shard(entries, writer, recognizer, read, batch_size=batch_size, batch_audio_s=batch_audio_s,
                     on_batch=lambda: None)  # fmt: skip
    return writer


def texts(folder: Path) -> dict[str, str]:
    lines = (folder / "1best_recog/text").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_batches_are_of_similar_length_and_within_both_limits(tmp_path: Path) -> None:
    recognizer = FakeRecognizer()
    lengths = [7, 300, 20, 310, 5, 290, 25, 1000, 6]
    decode(tmp_path, recognizer, lengths, batch_size=4, batch_audio_s=6.5)
    assert recognizer.batches == [[1000], [310, 300], [290, 25], [20, 7, 6, 5]]
    assert texts(tmp_path) == {f"u{n:02}": str(length) for n, length in enumerate(lengths)}


class TimingRecognizer(FakeRecognizer):
    """Gives times, which it has estimated where there are fewer than 10 samples."""

    def transcribe(self, waveforms):
        return [Said(["a"], "a", 0.0, [[0, len(wave)]], is_estimated=len(wave) < 10) for wave in waveforms]


def test_utterances_whose_times_are_estimated_are_listed(tmp_path: Path) -> None:
    decode(tmp_path, TimingRecognizer(), [50, 5, 60])
    assert (tmp_path / "1best_recog/timestamp").read_text() == "u00 [[0, 50]]\nu01 [[0, 5]]\nu02 [[0, 60]]\n"
    assert (tmp_path / "1best_recog/estimated").read_text() == "u01 true\n"


class TilingRecognizer(FakeRecognizer):
    """Computes two utterances of more than 50 samples at once, three of others."""

    def tile_of(self, samples):
        return ((60,), 2) if samples > 50 else ((50,), 3)


def test_a_batch_is_a_tile_of_one_shape_whatever_the_batch_size(tmp_path: Path) -> None:
    recognizer = TilingRecognizer()
    decode(tmp_path, recognizer, [60, 59, 58, 50, 49, 48, 47], batch_size=1)
    assert recognizer.batches == [[60, 59], [58], [50, 49, 48], [47]]


def test_memory_errors_halve_the_batch_until_it_fits(tmp_path: Path) -> None:
    recognizer = FakeRecognizer(memory=100)
    writer = decode(tmp_path, recognizer, [50, 50, 50, 50, 101], batch_size=5)
    assert list(writer.failed) == ["u04"] and writer.failed["u04"].startswith("out of memory: too much audio")
    assert sorted(texts(tmp_path)) == ["u00", "u01", "u02", "u03"]


class Tensors:
    """What a call has in memory."""


class CrowdedRecognizer(FakeRecognizer):
    """Has room for ``memory`` samples beside what earlier calls still hold."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self.held, self.released, self.refused = weakref.WeakSet(), 0, []

    def transcribe(self, waveforms):
        tensors = Tensors()
        assert not self.held, "the tensors of the call that failed are still there"
        self.held.add(tensors)
        lengths = [len(wave) for wave in waveforms]
        if max(lengths) * len(lengths) > self.memory:
            self.refused.append(lengths)
            raise RuntimeError("could not create a primitive")
        return super().transcribe(waveforms)

    def release_memory(self):
        assert not self.held
        self.released += 1


def test_memory_is_given_back_before_the_halves_and_what_fitted_is_remembered(tmp_path: Path) -> None:
    recognizer = CrowdedRecognizer(memory=100)
    writer = decode(tmp_path, recognizer, [20] * 24, batch_size=12)
    assert not writer.failed and len(texts(tmp_path)) == 24
    assert recognizer.refused == [[20] * 12, [20] * 6]  # the first batch, its first half: 120 of 100
    assert recognizer.released == 2
    assert recognizer.batches[-4:] == [[20] * 3] * 4


def test_a_piece_that_finds_no_room_is_out_of_memory_and_the_others_go_on(tmp_path: Path) -> None:
    recognizer = CrowdedRecognizer(memory=30)
    writer = decode(tmp_path, recognizer, [40, 20, 20], batch_size=1)
    assert list(writer.failed) == ["u00"] and writer.failed["u00"].startswith("out of memory")
    assert sorted(texts(tmp_path)) == ["u01", "u02"]


def test_one_bad_utterance_fails_alone(tmp_path: Path) -> None:
    writer = decode(tmp_path, FakeRecognizer(poison=3), [1, 2, 3, 4, 13, 5], batch_size=8)
    assert writer.failed == {"u02": "RuntimeError: this one is odd", "u04": "no such file"}
    assert len(texts(tmp_path)) == 4


def test_a_score_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    class NanRecognizer(FakeRecognizer):
        def transcribe(self, waveforms):
            return [Said(["a"], "a", float("nan") if len(w) == 2 else -1.0) for w in waveforms]

    writer = decode(tmp_path, NanRecognizer(), [1, 2, 3])
    assert writer.failed == {"u01": "the score is nan"}


def test_what_is_done_is_not_decoded_again(tmp_path: Path) -> None:
    decode(tmp_path, FakeRecognizer(), [1, 2, 13, 4])
    again = FakeRecognizer()
    writer = decode(tmp_path, again, [1, 2, 13, 4, 5])
    assert again.batches == [[5]]
    assert sorted(writer.done) == ["u00", "u01", "u03", "u04"]
    assert list(writer.failed) == ["u02"]


def test_a_recognizer_that_loses_a_hypothesis_is_not_believed(tmp_path: Path) -> None:
    class Loser(FakeRecognizer):
        def transcribe(self, waveforms):
            return super().transcribe(waveforms)[:-1]

    with pytest.raises(ValueError, match="zip"):
        decode(tmp_path, Loser(), [1, 2])
    assert not (tmp_path / "1best_recog").exists()


@pytest.mark.parametrize("is_shared", [True, False])
def test_what_a_heartbeat_says_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool) -> None:
    """Before a job says that it has ended its files are; on a shared file system also before it says how far it is."""
    monkeypatch.setenv("FUNRECIPE_SHARED_FILES", str(is_shared).lower())
    monkeypatch.setattr(worker, "HEARTBEAT_S", 0.0)
    events: list[object] = []
    sync, report = os.fsync, worker.write_status

    def note_sync(descriptor: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def note_status(folder: Path, status) -> None:
        events.append((status.done, status.code))
        report(folder, status)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(worker, "write_status", note_status)
    with wave.open(str(tmp_path / "a.wav"), "wb") as audio:
        audio.setparams((1, 2, 16000, 0, "NONE", ""))
        audio.writeframes(bytes(3200))
    with Draft(tmp_path) as draft:
        draft.fill([ShardEntry("a", str(tmp_path / "a.wav")), ShardEntry("b", str(tmp_path / "a.wav"))])
        jobs = draft.split(1)
        draft.publish(tmp_path / "split")
    plan = Plan(tmp_path, "", ModelRecord("", "", {}), {}, jobs, batch_size=1)
    recognizer = FakeRecognizer()
    recognizer.sample_rate_hz = 16000
    assert worker.run_jobs(plan, plan.jobs, lambda _plan: (recognizer, "cpu"), None) == 0
    first, ended = events.index((1, None)), events.index((2, 0))
    before = [Path(event).parts for event in events[:ended] if isinstance(event, str)]
    published = ("done", "1best_recog/text", "1best_recog/token", "1best_recog/score")
    assert all(any(parts[-1].startswith(f".{Path(name).name}.tmp-") for parts in before) for name in published)
    assert str(tmp_path / "output.1/1best_recog") in events[:ended] and str(tmp_path / "output.1") in events[:ended]
    appended = [event for event in events[:first] if isinstance(event, str) and "/attempt." in event]
    assert len(appended) == (4 if is_shared else 0)
