"""Parts of a source -> samples of one channel, all of them or a segment; a block at a time."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from funrecipe.audio.channels import take_channel
from funrecipe.audio.parts import Part, check_duration, check_header, size_of
from funrecipe.audio.resample import resample
from funrecipe.errors import DataError

if TYPE_CHECKING:
    import soundfile

BLOCK_SAMPLES = 1 << 18
MAX_OVERSHOOT_S = 0.5  # how far a segment may reach past the end of its recording: extract-segments of Kaldi
MAX_COUNT = 1 << 62  # libsndfile's numbers from here on mean "unknown"


@dataclass(frozen=True)
class Wanted:
    """What to read of a source: a segment in seconds (None: the beginning, the end) of one channel (or ``mix``)."""

    start_s: float | None = None
    end_s: float | None = None
    channel: int | str = 1

    def samples(self, rate_hz: int) -> tuple[int, int | None]:
        """First sample, and last + 1 or None."""
        first = round((self.start_s or 0.0) * rate_hz)
        return first, None if self.end_s is None else max(first, round(self.end_s * rate_hz))

    def check(self, total: int, rate_hz: int) -> None:
        """Raise DataError for a segment that reaches past the recording by more than Kaldi allows."""
        first, stop = self.samples(rate_hz)
        if first > total or (stop is not None and stop > total + MAX_OVERSHOOT_S * rate_hz):
            wanted = f"{self.start_s or 0.0:g} to {'the end' if self.end_s is None else format(self.end_s, 'g')}"
            raise DataError(f"the segment from {wanted} s is outside the recording of {total / rate_hz:.3f} s")


@dataclass(frozen=True)
class Sound:
    """``samples`` (S,) float32 of one channel, their rate, and how many channels there were."""

    samples: np.ndarray
    rate_hz: int
    channels: int


class UnknownToLibsndfile(DataError):
    """libsndfile cannot open it: damaged, or an encoding that it does not have."""


def decode_parts(file: BinaryIO, parts: list[Part], wanted: Wanted) -> Sound:
    """Decode the parts one after the other; other rates are converted to the first one's.

    Raises:
        DataError: a part is damaged, or shorter than it states; the segment leaves the recording.
    """
    kept: list[np.ndarray] = []
    position = rate_hz = channels = first = taken = 0
    stop: int | None = None
    for part in parts:
        if rate_hz and part.rate_hz == rate_hz:
            part, skipped = part.cut(max(0, first - position), None if stop is None else stop - position)
            position += skipped
        elif not rate_hz and part.rate_hz:
            first, stop = wanted.samples(part.rate_hz)
            part, position = part.cut(first, stop)
        with open_part(file, part) as sound:
            if not rate_hz:
                rate_hz, channels = sound.samplerate, sound.channels
                first, stop = wanted.samples(rate_hz)
                position += _seek(sound, part, first) if len(parts) == 1 else 0
            if sound.samplerate == rate_hz:
                blocks = _blocks(sound, part, None if stop is None else stop - position, wanted.channel)
            else:
                whole = np.concatenate([np.zeros(0, np.float32), *_blocks(sound, part, None, wanted.channel)])
                blocks = iter([resample(whole, sound.samplerate, rate_hz)])
            for block in blocks:
                low, high = max(0, first - position), len(block) if stop is None else max(0, stop - position)
                if low < high:
                    kept.append(block[low:high])
                    taken += len(kept[-1])
                    check_duration(taken, rate_hz)
                position += len(block)
        if stop is not None and position >= stop:
            break
    else:
        wanted.check(position, rate_hz or 1)
    samples = kept[0] if len(kept) == 1 else np.concatenate([np.zeros(0, np.float32), *kept])
    return Sound(samples, rate_hz or 1, channels or 1)


def stream_parts(file: BinaryIO, parts: list[Part], channel: int | str) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks (S,) of one channel, part after part, each with its sampling rate in Hz.

    Raises:
        DataError: as :func:`decode_parts`, after the blocks before the damage.
    """
    for part in parts:
        with open_part(file, part) as sound:
            for block in _blocks(sound, part, None, channel):
                yield block, sound.samplerate


def _seek(sound: soundfile.SoundFile, part: Part, first: int) -> int:
    """Seek to a sample if seeking is exact; returns where reading begins."""
    if first == 0 or not part.is_counted or not sound.seekable() or sound.frames >= MAX_COUNT:
        return 0
    with _reasons():
        return int(sound.seek(min(first, sound.frames)))


def _blocks(sound: soundfile.SoundFile, part: Part, wanted: int | None, channel: int | str) -> Iterator[np.ndarray]:
    """One channel of a part, block by block: ``wanted`` samples, or all; then the part must end where it says."""
    count = sound.tell() if sound.seekable() else 0
    end = None if wanted is None else count + part.lead + wanted
    while end is None or count < end:
        most = BLOCK_SAMPLES if end is None else min(BLOCK_SAMPLES, end - count)
        with _reasons():
            block = sound.read(most, dtype="float32", always_2d=True)
        begin, count = count, count + len(block)
        if len(block) < most:
            _check_end(sound, part, count)
        if part.from_pipe:
            last = None if part.samples is None else max(0, part.lead + part.samples - begin)
            taken = block[max(0, part.lead - begin) : last]
        else:
            taken = block
        if len(taken):
            yield np.ascontiguousarray(take_channel(taken, channel))
        if len(block) < most:
            return


def _check_end(sound: soundfile.SoundFile, part: Part, count: int) -> None:
    """Raise DataError where a part ends before it should."""
    stated = part.samples if part.samples is not None else sound.frames
    if part.is_counted and stated < MAX_COUNT and count != stated:
        raise DataError(f"the file is cut off or damaged: {count} of {stated} samples")
    if part.decoded is not None and count < part.decoded:
        raise DataError(f"damaged: {count} of {part.decoded} samples can be decoded")


@contextmanager
def open_part(file: BinaryIO, part: Part) -> Iterator[soundfile.SoundFile]:
    """A part as libsndfile's object. Raises DataError if the format is unknown or its header is absurd."""
    with contextlib.ExitStack() as stack:
        if part.from_pipe:
            source: int | BinaryIO = stack.enter_context(_pipe_of(part.read(file)))
        elif part.start == 0 and not part.header and part.stop == size_of(file):
            file.seek(0)
            source = file
        else:
            source = io.BytesIO(part.read(file))
        import soundfile

        with _reasons(UnknownToLibsndfile):
            sound = stack.enter_context(soundfile.SoundFile(source, closefd=False))
        stated = sound.frames if sound.frames < MAX_COUNT else 0
        check_header(sound.samplerate, sound.channels, stated, part.stop - part.start)
        yield sound


@contextmanager
def _reasons(kind: type[DataError] = DataError) -> Iterator[None]:
    """libsndfile's errors as DataError."""
    import soundfile

    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise kind(f"{reason} (corrupt, or a format unknown to libsndfile)") from None


@contextmanager
def _pipe_of(data: bytes) -> Iterator[int]:
    """The reading end of a pipe that a thread fills with ``data``."""
    read_end, write_end = os.pipe()

    def fill() -> None:
        rest = memoryview(data)
        with contextlib.suppress(BrokenPipeError):  # the reader has enough
            while rest:
                rest = rest[os.write(write_end, rest) :]
        os.close(write_end)

    thread = threading.Thread(target=fill, name="audio-pipe", daemon=True)
    thread.start()
    try:
        yield read_end
    finally:
        os.close(read_end)
        thread.join()
