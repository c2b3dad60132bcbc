"""The length of FLAC streams. https://www.rfc-editor.org/rfc/rfc9639

A file written through a pipe has 0 for "unknown" in its header, with which libsndfile cannot work; the header of its
last frame has the number of samples, which is filled in.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from funrecipe.audio.parts import Part, check_header, occurs, read_bytes
from funrecipe.errors import DataError

BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
HEADER_BYTES = 42  # "fLaC", the head of the first block, STREAMINFO
TAIL_BYTES = 1 << 20  # more than the largest frame of 32 channels less than any file has
FRAME_SYNC = re.compile(rb"\xff[\xf8\xf9][\x10-\xff][\x00-\xaf]")
BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{c: 256 << c - 8 for c in range(8, 16)}}


def flac_parts(file: BinaryIO, start: int, stop: int, *, length_only: bool = False) -> list[Part]:
    """The one part of a FLAC stream, with the number of samples that it states or that its last frame ends at.

    Args:
        length_only: do not look for a second stream, which takes reading all of the file.

    Raises:
        DataError: the header is damaged, or several streams follow one another.
    """
    header = read_bytes(file, start, min(start + HEADER_BYTES, stop))
    if len(header) < HEADER_BYTES or header[4] & 0x7F or header[5:8] != b"\x00\x00\x22":
        raise DataError("corrupt: a FLAC file without its first block")
    numbers = int.from_bytes(header[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits per sample - 1, 36 samples
    rate_hz, channels, samples = numbers >> 44, (numbers >> 41 & 7) + 1, numbers & (1 << 36) - 1
    if not length_only and occurs(BEGINNING, file, start + 4, stop):
        raise DataError("it holds several FLAC streams", hint="decode each with flac -d, then join them")
    if samples:
        check_header(rate_hz, channels, samples, stop - start)
        return [Part(start, stop, samples, rate_hz, channels)]
    samples = _end_of_last_frame(read_bytes(file, max(start, stop - TAIL_BYTES), stop), header)
    check_header(rate_hz, channels, samples, stop - start)
    numbers |= samples
    header = header[:18] + numbers.to_bytes(8, "big") + header[26:]
    return [Part(start, stop, samples, rate_hz, channels, header=header)]


def _end_of_last_frame(tail: bytes, header: bytes) -> int:
    """Samples up to the end of the last frame whose header is in ``tail``."""
    block_size = int.from_bytes(header[8:10], "big")
    for match in reversed(list(FRAME_SYNC.finditer(tail))):
        if (end := _frame_end(tail, match.start(), block_size)) is not None:
            return end
    raise DataError("its header does not say how long it is, and it has no frame")


def _frame_end(data: bytes, at: int, block_size: int) -> int | None:
    """Number of the sample after the frame whose header is at ``at``; None if its checksum shows that it is not one."""
    size_code, rate_code, is_numbered_by_sample = data[at + 2] >> 4, data[at + 2] & 15, data[at + 1] & 1
    number, end = _coded_number(data, at + 4)
    if number is None or size_code == 0 or rate_code == 15 or data[at + 3] & 1:
        return None
    extra = {6: 1, 7: 2}.get(size_code, 0)
    samples = int.from_bytes(data[end : end + extra], "big") + 1 if extra else BLOCK_SIZES[size_code]
    end += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if end >= len(data) or _crc8(data[at:end]) != data[end]:
        return None
    return (number if is_numbered_by_sample else number * block_size) + samples


def _coded_number(data: bytes, at: int) -> tuple[int | None, int]:
    """A number of up to 36 bits, coded like UTF-8, and the position after it."""
    first = data[at] if at < len(data) else 0xFF
    if first < 0x80:
        return first, at + 1
    length = 8 - (first ^ 0xFF).bit_length()  # leading ones
    rest = data[at + 1 : at + length]
    if not 2 <= length <= 7 or len(rest) != length - 1 or any(byte & 0xC0 != 0x80 for byte in rest):
        return None, at
    number = first & (0x7F >> length)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, at + length


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ 0x107 if crc & 0x80 else crc << 1
    return crc
