"""Ogg: pages, and the links of a chained stream. https://www.rfc-editor.org/rfc/rfc3533

libsndfile ends at the first link, and skips pages that are damaged; here every page must be present and intact, and
each link is decoded separately.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from funrecipe.audio.parts import MAX_PARTS, Part, read_bytes
from funrecipe.errors import DataError

HEADER_BYTES = 27
BEGINS, ENDS = 2, 4
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_parts(file: BinaryIO, start: int, stop: int, *, length_only: bool = False) -> list[Part]:
    """The links of an Ogg stream, one after the other.

    Args:
        length_only: leave out the checksums.

    Raises:
        DataError: a page is cut off, damaged or missing.
    """
    data = read_bytes(file, start, stop)
    links: list[tuple[int, bool]] = []  # first byte, whether its last page is marked as the last
    sequence: dict[int, int] = {}
    at, in_head = 0, False
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            if data[at : at + 3] == b"TAG" or not data[at:].strip(b"\0"):
                break
            raise DataError(f"damaged: no Ogg page at byte {start + at}")
        if len(data) < at + HEADER_BYTES or len(data) < (end := _page_end(data, at)):
            raise DataError("the file is cut off in the middle of an Ogg page")
        _, flags, _, serial, number, checksum, _ = struct.unpack_from("<BBqIIIB", data, at + 4)
        if not length_only and _checksum(data[at : at + 22] + bytes(4) + data[at + 26 : end]) != checksum:
            raise DataError(f"damaged: the checksum of the Ogg page at byte {start + at} does not match")
        if flags & BEGINS:
            if not in_head:
                links.append((at, False))
                sequence.clear()
        elif serial in sequence and number != sequence[serial] + 1:
            raise DataError(f"damaged: Ogg pages are missing before byte {start + at}")
        elif not links:
            raise DataError("the Ogg stream has no beginning")
        in_head, sequence[serial] = bool(flags & BEGINS), number
        links[-1] = (links[-1][0], bool(flags & ENDS))
        at = end
    if len(links) > MAX_PARTS:
        raise DataError(f"it chains {len(links)} Ogg streams", hint=f"chain at most {MAX_PARTS}")
    ends = [link[0] for link in links[1:]] + [at]
    return [Part(start + first, start + end, is_counted=is_ended) for (first, is_ended), end in zip(links, ends)]


def _page_end(data: bytes, at: int) -> int:
    segments = data[at + HEADER_BYTES : at + HEADER_BYTES + data[at + 26]]
    if len(segments) < data[at + 26]:
        return len(data) + 1
    return at + HEADER_BYTES + len(segments) + sum(segments)


def _checksum(page: bytes) -> int:
    """CRC-32 with the bit order opposite to zlib's, starting from 0 and not inverted."""
    crc = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
