"""One reader of audio content, wherever it comes from: identify it, find its parts, decode them."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from funrecipe.audio.channels import channels_last, take_channel
from funrecipe.audio.chunks import (
    LAYOUTS,
    NEXT_ENTRY,
    au_parts,
    avr_parts,
    check_riff_size,
    chunk_parts,
    nist_parts,
    voc_parts,
)
from funrecipe.audio.decode import MAX_COUNT, Sound, UnknownToLibsndfile, Wanted, decode_parts, open_part, stream_parts
from funrecipe.audio.ffmpeg import CONVERT_HINT, converted
from funrecipe.audio.flac import flac_parts
from funrecipe.audio.mpeg import mpeg_parts
from funrecipe.audio.ogg import ogg_parts
from funrecipe.audio.parts import MAX_CHANNELS, Part, check_duration, check_rate, occurs, read_bytes
from funrecipe.audio.signatures import HEAD_BYTES, SIGNATURE_BYTES, Format, by_signature, id3_bytes, identify
from funrecipe.errors import DataError

PCM_BYTES_PER_SAMPLE = 2
PCM_FULL_SCALE = 32768.0
MAX_LEADING_TAGS = 8
RAW_BLOCK_BYTES = PCM_BYTES_PER_SAMPLE << 18
WHOLE = ("kaldi", "wrapped", "foreign", "not audio")  # readers that have no blocks
MATRIX_HEAD_BYTES = 22  # the longest
NUMBER_BYTES = {b"FV": 4, b"DV": 8, b"FM": 4, b"DM": 8, b"CM": 1, b"CM2": 2, b"CM3": 1}  # by kind of matrix, vector
PARTS = {"mpeg": mpeg_parts, "au": au_parts, "nist": nist_parts, "avr": avr_parts, "voc": voc_parts}


@dataclass(frozen=True)
class Reading:
    """How content is to be taken.

    Attributes:
        wanted: the segment and the channel.
        raw_rate_hz: rate of what does not name its own (raw samples, Kaldi matrices).
        allow_raw: what has no signature is raw samples.
        is_entry: it begins inside an archive, whose other entries may follow.
        allow_ffmpeg: ffmpeg may read what libsndfile does not.
    """

    wanted: Wanted
    raw_rate_hz: int
    allow_raw: bool = False
    is_entry: bool = False
    allow_ffmpeg: bool = False


def read_content(file: BinaryIO, start: int, stop: int, reading: Reading) -> Sound:
    """Decode what begins at byte ``start`` of ``file``, by its signature.

    Raises:
        DataError: it is empty, not audio, damaged, or in a format that cannot be read.
    """
    if start >= stop:
        raise DataError(f"the archive ends before byte {start}" if reading.is_entry else "the file has zero bytes")
    audio, found = look(file, start, stop)
    if found is None and audio > start:
        raise DataError("an ID3 tag without audio in a known format after it")
    if found is None:
        return _read_raw(file, start, stop, reading)
    if found.reader == "not audio":
        raise DataError(f"not audio: {found.name}")
    if found.reader == "kaldi":
        return _read_matrix(file, audio, stop, reading)
    if found.reader == "wrapped":
        inner = unwrap(file, audio, stop)
        return read_content(file, *inner, replace(reading, is_entry=False))
    if found.reader == "foreign":
        if not reading.allow_ffmpeg:
            ffmpeg = " (infer.sh --allow_ffmpeg true lets ffmpeg read it)" if found.demuxer else ""
            raise DataError(f"{found.name}, a format that libsndfile does not read{ffmpeg}", hint=CONVERT_HINT)
        if found.demuxer == "avi":
            check_riff_size(file, audio, stop)  # ffmpeg does not mind
        return _read_with_ffmpeg(file, audio, stop, found, reading)
    parts = parts_of(file, audio, stop, found, is_entry=reading.is_entry)
    try:
        return decode_parts(file, parts, reading.wanted)
    except UnknownToLibsndfile as error:
        if not (reading.allow_ffmpeg and found.demuxer):
            raise DataError(f"{found.name}: {error.what}", hint=CONVERT_HINT) from None
        return _read_with_ffmpeg(file, audio, stop, found, reading)


def stream_content(file: BinaryIO, start: int, stop: int, reading: Reading) -> Iterator[tuple[np.ndarray, int]]:
    """As :func:`read_content`, block by block with the rate of each; what cannot be read in blocks comes as one."""
    audio, found = look(file, start, stop) if start < stop else (start, None)
    if found is None and audio == start < stop and reading.allow_raw and not reading.is_entry:
        _read_raw(file, start, stop, replace(reading, wanted=Wanted(0.0, 0.0)))  # is it whole?
        for begin in range(start, stop, RAW_BLOCK_BYTES):
            samples = _raw_samples(read_bytes(file, begin, min(stop, begin + RAW_BLOCK_BYTES)))
            yield take_channel(samples[:, None], reading.wanted.channel), reading.raw_rate_hz
        return
    if found is None or found.reader in WHOLE:
        sound = read_content(file, start, stop, reading)
        yield sound.samples, sound.rate_hz
        return
    parts = parts_of(file, audio, stop, found, is_entry=reading.is_entry)
    has_begun = False
    try:
        for block, rate_hz in stream_parts(file, parts, reading.wanted.channel):
            has_begun = True
            yield block, rate_hz
    except UnknownToLibsndfile as error:
        if has_begun or not (reading.allow_ffmpeg and found.demuxer):
            raise DataError(f"{found.name}: {error.what}", hint=CONVERT_HINT) from None
        sound = _read_with_ffmpeg(file, audio, stop, found, reading)
        yield sound.samples, sound.rate_hz


def content_length_s(file: BinaryIO, start: int, stop: int, reading: Reading) -> float | None:
    """Seconds by the header where it is exact, else None; nothing is decoded.

    Raises:
        DataError: it is not audio, or its header is damaged.
    """
    audio, found = look(file, start, stop)
    if found is None and audio > start:
        return None
    if found is None:
        return (stop - start) / PCM_BYTES_PER_SAMPLE / reading.raw_rate_hz if reading.allow_raw else None
    if found.reader == "wrapped":
        return content_length_s(file, *unwrap(file, audio, stop), replace(reading, is_entry=False))
    if found.reader in ("mpeg", "kaldi", "foreign", "not audio"):
        return None
    total_s = 0.0
    for part in parts_of(file, audio, stop, found, is_entry=reading.is_entry, length_only=True):
        if not part.is_counted:
            return None
        if part.samples is not None and part.rate_hz:
            total_s += part.samples / part.rate_hz
            continue
        with open_part(file, part) as sound:
            if sound.frames >= MAX_COUNT:
                return None
            total_s += sound.frames / sound.samplerate
    return total_s


def look(file: BinaryIO, start: int, stop: int) -> tuple[int, Format | None]:
    """Where the audio begins, past ID3 tags, and its format."""
    for _ in range(MAX_LEADING_TAGS):
        size = id3_bytes(read_bytes(file, start, min(start + 10, stop)))
        if not size:
            break
        if start + size >= stop:
            raise DataError("an ID3 tag without audio")
        start += size
    head = read_bytes(file, start, min(start + SIGNATURE_BYTES, stop))
    return start, by_signature(head) or identify(read_bytes(file, start, min(start + HEAD_BYTES, stop)))


def parts_of(
    file: BinaryIO, start: int, stop: int, found: Format, *, is_entry: bool = False, length_only: bool = False
) -> list[Part]:
    """What libsndfile decodes one after the other. Raises DataError where the container shows that it is not whole."""
    if found.reader in LAYOUTS:
        return chunk_parts(file, start, stop, found.reader, is_entry=is_entry)
    if is_entry and occurs(NEXT_ENTRY, file, start, stop):
        raise DataError(
            f"{found.name} in an archive where other entries follow: its length is not stated",
            hint="store wavs in archives, or list the files in wav.scp",
        )
    if found.reader == "flac":
        return flac_parts(file, start, stop, length_only=length_only)
    if found.reader == "ogg":
        return ogg_parts(file, start, stop, length_only=length_only)
    if found.reader in PARTS:
        return PARTS[found.reader](file, start, stop)
    return [Part(start, stop)]


def _read_raw(file: BinaryIO, start: int, stop: int, reading: Reading) -> Sound:
    if reading.is_entry:
        raise DataError(f"neither audio nor a Kaldi matrix at byte {start} of the archive")
    if not reading.allow_raw:
        raise DataError(
            "not audio in any known format: no known signature at its beginning",
            hint="give raw 16-bit samples a name that ends in .pcm or .raw",
        )
    size = stop - start
    if size % PCM_BYTES_PER_SAMPLE:
        raise DataError(f"{size} bytes of 16-bit samples: an odd number; the data is truncated or has a header")
    check_rate(reading.raw_rate_hz)
    first, last = reading.wanted.samples(reading.raw_rate_hz)
    reading.wanted.check(size // PCM_BYTES_PER_SAMPLE, reading.raw_rate_hz)
    end = stop if last is None else min(stop, start + PCM_BYTES_PER_SAMPLE * last)
    check_duration((end - start) // PCM_BYTES_PER_SAMPLE - first, reading.raw_rate_hz)
    data = read_bytes(file, start + PCM_BYTES_PER_SAMPLE * first, end)
    return Sound(take_channel(_raw_samples(data)[:, None], reading.wanted.channel), reading.raw_rate_hz, 1)


def _raw_samples(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(PCM_FULL_SCALE)


def _read_with_ffmpeg(file: BinaryIO, start: int, stop: int, found: Format, reading: Reading) -> Sound:
    if reading.is_entry and occurs(NEXT_ENTRY, file, start, stop):
        raise DataError(f"{found.name} in an archive where other entries follow: its length is not stated")
    with converted(file, start, stop, found) as wav:
        size = wav.seek(0, io.SEEK_END)
        return read_content(wav, 0, size, replace(reading, allow_raw=False, is_entry=False, allow_ffmpeg=False))


def unwrap(file: BinaryIO, start: int, stop: int) -> tuple[int, int]:
    """First byte and end of the file in a block ``AUDIO``, which kaldiio writes with its size."""
    head = read_bytes(file, start, min(start + 14, stop))
    width = head[5] if len(head) > 5 else 0
    begin = start + 6 + width
    size = int.from_bytes(head[6 : 6 + width], "little")
    if begin + size > stop:
        raise DataError(f"the archive is cut off: {max(0, stop - begin)} of {size} bytes of audio")
    return begin, begin + size


def matrix_shape(head: bytes) -> tuple[tuple[int, ...], int]:
    """Shape and bytes of the Kaldi matrix or vector that begins with ``head``; ``()``: neither. Raises struct.error."""
    kind = head[2:6].partition(b" ")[0]
    if kind not in NUMBER_BYTES:
        return (), 0
    layout = "<8xii" if kind.startswith(b"C") else "<xixi" if kind.endswith(b"M") else "<xi"
    shape = struct.unpack_from(layout, head, 3 + len(kind))
    column_heads = 8 * shape[1] if kind == b"CM" else 0
    return shape, 3 + len(kind) + struct.calcsize(layout) + column_heads + math.prod(shape) * NUMBER_BYTES[kind]


def _read_matrix(file: BinaryIO, start: int, stop: int, reading: Reading) -> Sound:
    """A Kaldi matrix or vector of samples in 16-bit units. https://kaldi-asr.org/doc/io.html"""
    from kaldiio.matio import read_matrix_or_vector

    head = read_bytes(file, start, min(start + MATRIX_HEAD_BYTES, stop))
    try:
        shape, num_bytes = matrix_shape(head)
    except struct.error:
        raise DataError(f"corrupt: a Kaldi matrix that is cut off at byte {start + len(head)}") from None
    if not shape:
        raise DataError("a Kaldi object that is not a matrix of samples")
    size = " x ".join(map(str, shape))
    if min(shape) < 0 or num_bytes > stop - start:
        raise DataError(f"corrupt: a Kaldi matrix of {size} in {stop - start} bytes")
    if len(shape) == 2 and min(shape) > MAX_CHANNELS:
        raise DataError(f"a matrix of {size} is not a waveform (features?)")
    body = read_bytes(file, start, start + num_bytes)
    try:
        matrix = read_matrix_or_vector(io.BytesIO(body), endian="<")
    except (ValueError, AssertionError, struct.error, IndexError, RuntimeError, TypeError) as error:
        raise DataError(f"corrupt: a Kaldi matrix at byte {start} ({error})") from None
    samples = channels_last(np.asarray(matrix))
    check_rate(reading.raw_rate_hz)
    reading.wanted.check(len(samples), reading.raw_rate_hz)
    first, last = reading.wanted.samples(reading.raw_rate_hz)
    taken = take_channel(samples[first:last], reading.wanted.channel).astype(np.float32) / np.float32(PCM_FULL_SCALE)
    return Sound(taken, reading.raw_rate_hz, samples.shape[1])
