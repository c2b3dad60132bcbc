"""Containers of chunks (WAV in all its kinds, Wave64, AIFF, CAF) and of one header (AU, NIST SPHERE).

Where the samples are, how many bytes of them the header states, and whether they are there: libsndfile reads what is
left of a truncated file without a warning.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from funrecipe.audio.mpeg import mpeg_parts
from funrecipe.audio.parts import Part, check_header, occurs, read_bytes
from funrecipe.errors import DataError

MAX_CHUNKS = 1000
MAX_ID_BYTES = 1024
MAX_VOC_TYPE = 9
MAX_FORMAT_BYTES = 4096
UNKNOWN_SIZE = 0x7F000000  # SoX, ffmpeg and others write a value from here on where they cannot seek back
W64_GUID = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # follows the four letters of most chunk names
LINEAR = (1, 3, 6, 7)  # WAVE format tags of a fixed number of bytes per sample: PCM, float, A-law, mu-law
MPEG_TAGS = (0x50, 0x55)
# What an entry of a Kaldi archive begins with, after its id and a space.
NEXT_ENTRY = re.compile(
    rb"[^\x00-\x20\x7f] (RIFF.{4}WAVE|RIFX.{4}WAVE|RF64.{4}WAVE|fLaC\x00\x00\x00\x22|fLaC\x80\x00\x00\x22|OggS\x00\x02"
    rb"|NIST_1A\n|FORM.{4}AIF|\x00B[FDC][MV][23]? |AUDIO[\x01-\x08]|ID3[\x02-\x04])",
    re.DOTALL,
)


class Layout(NamedTuple):
    """How a container writes its chunks: name, size, body, padding to a multiple of ``align`` bytes."""

    size_format: str
    first: int
    align: int = 2
    name_bytes: int = 4
    counts_itself: bool = False


LAYOUTS = {
    "riff": Layout("<I", 12),
    "rf64": Layout("<I", 12),
    "rifx": Layout(">I", 12),
    "aiff": Layout(">I", 12),
    "caf": Layout(">q", 8, align=1),
    "w64": Layout("<Q", 40, align=8, name_bytes=16, counts_itself=True),
}
PREFACES = {("aiff", b"SSND"): 8, ("caf", b"data"): 4}  # bytes before the samples in their chunk
FORMAT_NAMES = (b"fmt ", b"fmt " + W64_GUID)
DATA_NAMES = (b"data", b"SSND", b"BODY", b"data" + W64_GUID)


class Chunk(NamedTuple):
    """A chunk's name, the byte where its body begins, and the size that it states."""

    name: bytes
    start: int
    size: int


class Samples(NamedTuple):
    """The chunk of samples: where it begins, its size in bytes (None: the header does not say), the format chunk."""

    start: int
    size: int | None
    format: bytes


def chunk_parts(file: BinaryIO, start: int, stop: int, reader: str, *, is_entry: bool = False) -> list[Part]:
    """The one part of a container of chunks between ``start`` and ``stop``; MPEG audio inside of it as its own.

    Args:
        is_entry: something else may follow, as in an archive, so the header must state a size.

    Raises:
        DataError: it is truncated, damaged, or of unknown length where others may follow.
    """
    samples = find_samples(file, start, stop, reader)
    left = stop - samples.start
    if samples.size is None and is_entry and occurs(NEXT_ENTRY, file, samples.start, stop):
        raise DataError(
            "its header does not say how long it is, and other entries of the archive follow",
            hint="copy the wavs with their lengths: wav-copy, or sox -t wav IN -t wav OUT.wav",
        )
    if samples.size is None and reader not in ("riff", "rifx", "rf64"):
        raise DataError("its header does not say how long it is (written through a pipe?)", hint="write it to a file")
    if samples.size == 0 and left > 0 and not _may_follow(file, samples.start, stop, LAYOUTS[reader]):
        raise DataError(f"its header states 0 samples, but {left} bytes follow: the recording was interrupted")
    if samples.size is not None and samples.size > left:
        raise DataError(f"the file is cut off: {left} of {samples.size} bytes of samples")
    size = left if samples.size is None else samples.size
    end = samples.start + size if is_entry else stop
    if reader not in ("riff", "rifx") or len(samples.format) < 16:
        return [Part(start, end)]
    order = "<" if reader == "riff" else ">"
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from(order + "HHIIHH", samples.format)
    if tag == 0xFFFE and len(samples.format) >= 26:  # WAVE_FORMAT_EXTENSIBLE: the tag begins its GUID
        (tag,) = struct.unpack_from(order + "H", samples.format, 24)
    check_header(rate_hz, channels)
    if tag in MPEG_TAGS:
        return mpeg_parts(file, samples.start, samples.start + size)
    if tag not in LINEAR or samples.size is None:
        return [Part(start, end)]
    if not bits or block_bytes != channels * ((bits + 7) // 8):
        raise DataError(f"its header is damaged: {block_bytes} bytes for {channels} samples of {bits} bits")
    return [Part(start, end, size // block_bytes, rate_hz, channels)]


def find_samples(file: BinaryIO, start: int, stop: int, reader: str) -> Samples:
    """The chunk of samples of a container; DataError if there is none."""
    format_body, long_size = b"", None
    for chunk in walk(file, start, stop, LAYOUTS[reader]):
        if chunk.name in FORMAT_NAMES:
            format_body = read_bytes(file, chunk.start, min(chunk.start + min(chunk.size, MAX_FORMAT_BYTES), stop))
        elif chunk.name == b"ds64" and chunk.size >= 16:
            body = read_bytes(file, chunk.start, chunk.start + 16)
            long_size = struct.unpack("<Q", body[8:16])[0] if len(body) == 16 else None
        elif chunk.name in DATA_NAMES:
            size = chunk.size
            if reader == "rf64" and size == 0xFFFFFFFF and long_size is not None:
                size = -1 if long_size in (0, 2**64 - 1) else long_size
            elif size < 0 or (size >= UNKNOWN_SIZE and size > stop - chunk.start):
                size = -1
            preface = PREFACES.get((reader, chunk.name), 0)
            return Samples(chunk.start + preface, None if size < 0 else max(0, size - preface), format_body)
    raise DataError("corrupt: it has no chunk of samples")


def walk(file: BinaryIO, start: int, stop: int, layout: Layout) -> Iterator[Chunk]:
    """The chunks of a container that begins at ``start``, in order."""
    at, head = start + layout.first, layout.name_bytes + struct.calcsize(layout.size_format)
    for _ in range(MAX_CHUNKS):
        if at + head > stop:
            return
        header = read_bytes(file, at, at + head)
        (size,) = struct.unpack(layout.size_format, header[layout.name_bytes :])
        size -= head if layout.counts_itself else 0
        if size < 0 and not (layout.size_format == ">q" and size == -1):
            raise DataError(f"corrupt: a chunk of {size} bytes")
        yield Chunk(header[: layout.name_bytes], at + head, size)
        at += head + size + -size % layout.align
    raise DataError(f"corrupt: more than {MAX_CHUNKS} chunks before the samples")


def _may_follow(file: BinaryIO, at: int, stop: int, layout: Layout) -> bool:
    """Whether samples may end at byte ``at``: an entry of an archive, or a whole chunk, begins there."""
    rest = read_bytes(file, at, min(stop, at + MAX_ID_BYTES))
    if re.match(rb"[^\x00-\x20\x7f]*" + NEXT_ENTRY.pattern, rest, re.DOTALL):
        return True
    name_bytes, size_bytes = layout.name_bytes, struct.calcsize(layout.size_format)
    if not rest[:4].strip().isalnum() or len(rest) < name_bytes + size_bytes:
        return False
    (size,) = struct.unpack_from(layout.size_format, rest, name_bytes)
    return bool(0 <= size <= stop - at)


def check_riff_size(file: BinaryIO, start: int, stop: int) -> None:
    """Raise DataError for a RIFF file that is shorter than its first chunk."""
    (size,) = struct.unpack("<I", read_bytes(file, start + 4, start + 8))
    if UNKNOWN_SIZE > size > stop - start - 8:
        raise DataError(f"the file is cut off: {stop - start - 8} of {size} bytes")


def au_parts(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """AU: a header of six numbers. https://pubs.opengroup.org/external/auformat.html"""
    header = read_bytes(file, start, start + 24)
    if len(header) < 24:
        raise DataError("corrupt: the header is cut off")
    offset, size, _, rate_hz, channels = struct.unpack((">" if header[:1] == b"." else "<") + "5I", header[4:])
    check_header(rate_hz, channels)
    left = stop - start - offset
    if size > left and size < UNKNOWN_SIZE:
        raise DataError(f"the file is cut off: {max(0, left)} of {size} bytes of samples")
    return [Part(start, stop, is_counted=size < UNKNOWN_SIZE)]


def nist_parts(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """NIST SPHERE: a header of text lines, ``name -i value``."""
    fields = {}
    for line in read_bytes(file, start, start + 1024).decode("latin-1").split("\n")[2:]:
        if line.strip() == "end_head":
            break
        name, _, rest = line.strip().partition(" ")
        fields[name] = rest.partition(" ")[2]
    if "," in fields.get("sample_coding", ""):
        raise DataError(
            f"its samples are compressed ({fields['sample_coding']})", hint="convert it: sph2pipe -f wav IN OUT.wav"
        )
    try:
        header_bytes = int(read_bytes(file, start + 8, start + 16))
        count, width = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        channels, rate_hz = int(fields["channel_count"]), int(fields["sample_rate"])
    except (ValueError, KeyError):
        raise DataError("corrupt: its header does not state the samples, bytes, channels and rate") from None
    check_header(rate_hz, channels)
    wanted, left = count * width * channels, stop - start - header_bytes
    if wanted > left:
        raise DataError(f"the file is cut off: {max(0, left)} of {wanted} bytes of samples")
    return [Part(start, stop)]


def avr_parts(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """AVR: a header of 128 bytes that counts the samples of all channels."""
    header = read_bytes(file, start, start + 128)
    if len(header) < 128:
        raise DataError("corrupt: the header is cut off")
    is_stereo, bits = struct.unpack(">hh", header[12:16])
    (count,) = struct.unpack(">I", header[26:30])
    wanted, left = count * (2 if is_stereo else 1) * (2 if bits == 16 else 1), stop - start - 128
    if wanted > left:
        raise DataError(f"the file is cut off: {left} of {wanted} bytes of samples")
    return [Part(start, stop)]


def voc_parts(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Creative Voice: blocks of a type and a size in three bytes, until one of type 0; libsndfile reads one of sound.

    SoX states 8 bytes too few, so that samples appear where a type is expected: the blocks end there, too.
    """
    at = start + int.from_bytes(read_bytes(file, start + 20, start + 22), "little")
    sounds = 0
    for _ in range(MAX_CHUNKS):
        head = read_bytes(file, at, min(at + 4, stop))
        if not head or head[0] == 0 or head[0] > MAX_VOC_TYPE:
            break
        size = int.from_bytes(head[1:], "little")
        if at + 4 + size > stop:
            raise DataError(f"the file is cut off: {max(0, stop - at - 4)} of {size} bytes of a block")
        sounds += head[0] in (1, 2, 9)
        at += 4 + size
    if sounds != 1:
        raise DataError(f"the VOC file has {sounds} blocks of sound, not one", hint="convert it to wav: sox IN OUT.wav")
    return [Part(start, stop)]
