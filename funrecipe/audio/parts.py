"""What a source is cut into before it is decoded: ranges of bytes that libsndfile reads from beginning to end."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

from funrecipe.errors import DataError

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 1_000_000
MAX_CHANNELS = 32
MAX_AUDIO_S = 12 * 3600  # in memory at once
MAX_SAMPLES_PER_BYTE = 8192  # digital silence in FLAC has 4700
MAX_PARTS = 1000
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """Bytes ``start`` to ``stop`` of a source, one stream of audio.

    Attributes:
        samples: samples per channel that it states, or None.
        rate_hz, channels: where the header was read without libsndfile, else 0.
        is_counted: libsndfile's own number of samples is exact and must be met.
        from_pipe: libsndfile reads all of it from an operating system's pipe only (MPEG audio, whose length it
            guesses in a file).
        lead: decoded samples before the first one (MPEG audio: the delay of the encoder, or what a cut needs).
        decoded: samples that are decoded, with ``lead`` and others after the last one; None: as many as there are.
        header: replaces the first bytes.
    """

    start: int
    stop: int
    samples: int | None = None
    rate_hz: int = 0
    channels: int = 0
    is_counted: bool = True
    from_pipe: bool = False
    lead: int = 0
    decoded: int | None = None
    header: bytes = b""

    def cut(self, first: int, stop: int | None) -> tuple[Part, int]:
        """What has to be decoded for samples ``first`` to ``stop``, and the number of its first sample."""
        return self, 0

    def read(self, file: BinaryIO) -> bytes:
        return self.header + read_bytes(file, self.start + len(self.header), self.stop)


def read_bytes(file: BinaryIO, start: int, stop: int) -> bytes:
    """Bytes ``start`` to ``stop``, fewer where the file ends."""
    file.seek(start)
    return file.read(max(0, stop - start))


def size_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def occurs(pattern: re.Pattern[bytes], file: BinaryIO, start: int, stop: int) -> bool:
    """Whether something of up to 32 bytes matches ``pattern`` between ``start`` and ``stop``; a block at a time."""
    file.seek(start)
    kept = b""
    while start < stop and (block := file.read(min(BLOCK_BYTES, stop - start))):
        if pattern.search(kept + block):
            return True
        kept, start = block[-32:], start + len(block)
    return False


def check_rate(rate_hz: float, who: str = "audio_fs is") -> None:
    """Raise DataError for an absurd sampling rate: converting it could take any amount of memory."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise DataError(f"{who} {rate_hz:g} Hz (from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are read)")


def check_header(rate_hz: float, channels: int, samples: int = 0, size: int = 0) -> None:
    """Raise DataError for an absurd header, before memory is allocated for it.

    Args:
        samples: what it states per channel; size: bytes available for them.
    """
    check_rate(rate_hz, "its header states a sampling rate of")
    if not 1 <= channels <= MAX_CHANNELS:
        raise DataError(f"its header states {channels} channels (at most {MAX_CHANNELS} are read)")
    if samples > MAX_SAMPLES_PER_BYTE * size:
        raise DataError(f"its header states {samples} samples in {size} bytes")


def check_duration(samples: int, rate_hz: int) -> None:
    """Raise DataError for more samples than may be held in memory at once."""
    if samples > MAX_AUDIO_S * rate_hz:
        hours = MAX_AUDIO_S // 3600
        raise DataError(f"{samples / rate_hz / 3600:.1f} hours at once, more than {hours}", hint="cut it into segments")
