"""Formats that are a chain of frames: each header says where the next one is (MPEG audio, ADTS, LOAS, AC-3, TS).

A sync word alone means nothing, since raw samples hold such bytes too. Several headers that agree and are exactly one
frame apart do: the fields compared have 18 bits or more, so that a chain of four by accident is rarer than 2**-50.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

MIN_CHAIN = 4
KBPS = {  # (MPEG-1?, layer) -> bit rates by index, ISO/IEC 11172-3 and 13818-3
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
TS_PACKET_BYTES = 188
MAX_HEADER_BYTES = 7


class Frame(NamedTuple):
    """``size`` in bytes, and what the headers of one stream have in common.

    Of MPEG audio also what decoding needs: ``samples`` per channel; ``side_bytes`` of layer III, before a Xing tag.
    """

    size: int
    key: tuple[object, ...]
    samples: int = 0
    rate_hz: int = 0
    side_bytes: int = 0


def mpeg_frame(data: bytes, at: int) -> Frame | None:
    """The MPEG-1, -2 or -2.5 frame of layer II or III whose header is at ``at``; None for free format.

    Layer I is left out: nobody uses it, and its sync word is that of raw samples of -1.
    """
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    kbps_index, rate_index, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or not 0 < kbps_index < 15 or rate_index == 3 or data[at + 3] & 3 == 2:
        return None
    rate_hz = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 576 if layer == 3 and version != 3 else 1152
    size = samples // 8 * KBPS[version == 3, layer][kbps_index - 1] * 1000 // rate_hz + padding
    mono = data[at + 3] >> 6 == 3
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Frame(size, (version, layer, rate_hz, mono), samples, rate_hz, side_bytes)


def _adts_frame(data: bytes, at: int) -> Frame | None:
    """AAC with a header per frame, ISO/IEC 13818-7."""
    if at + 7 > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0 or data[at + 2] >> 2 & 15 > 12:
        return None
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return Frame(size, (data[at + 1], data[at + 2], data[at + 3] & 0xC0)) if size > 7 else None


def _loas_frame(data: bytes, at: int) -> Frame | None:
    """AAC in LOAS, ISO/IEC 14496-3."""
    if at + 3 > len(data) or data[at] != 0x56 or data[at + 1] & 0xE0 != 0xE0:
        return None
    size = (data[at + 1] & 0x1F) << 8 | data[at + 2]
    return Frame(size + 3, ()) if size else None


def _ac3_frame(data: bytes, at: int) -> Frame | None:
    """AC-3 and E-AC-3, ETSI TS 102 366."""
    if at + 6 > len(data) or data[at : at + 2] != b"\x0b\x77":
        return None
    if data[at + 5] >> 3 > 10:  # E-AC-3 states its size in words
        return Frame(2 * ((data[at + 2] & 7) << 8 | data[at + 3]) + 2, ("E",))
    rate_index, code = data[at + 4] >> 6, data[at + 4] & 63
    if rate_index == 3 or code >= 2 * len(AC3_KBPS):
        return None
    kbps = AC3_KBPS[code // 2]
    return Frame((4 * kbps, 2 * (kbps * 96000 // 44100 + code % 2), 6 * kbps)[rate_index], (rate_index,))


def _ts_frame(data: bytes, at: int) -> Frame | None:
    """A packet of an MPEG transport stream, ISO/IEC 13818-1: no error flag, and not empty."""
    if at + 4 > len(data) or data[at] != 0x47 or data[at + 1] & 0x80 or not data[at + 3] & 0x30:
        return None
    return Frame(TS_PACKET_BYTES, ())


HEADERS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes, int], Frame | None]]] = {
    "mpeg": (re.compile(rb"\xff[\xe2-\xff][\x10-\xef]"), mpeg_frame),
    "adts": (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _adts_frame),
    "loas": (re.compile(rb"\x56[\xe0-\xff]"), _loas_frame),
    "ac3": (re.compile(rb"\x0b\x77"), _ac3_frame),
    "ts": (re.compile(rb"\x47"), _ts_frame),
}
ENCODER_MARKS, MARK_BYTES = (b"Xing", b"Info", b"LAME", b"Lavc", b"VBRI"), 256
FREE_FORMAT = re.compile(rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x00-\x0b]")
MIN_FREE_BYTES, MAX_FREE_BYTES = 24, 4096
CUT_OUT = ("mpeg", "adts")
MIN_CHAIN_OF = {"loas": 8, "ts": 16}  # their headers have few bits to compare


def find_frames(data: bytes) -> tuple[str, int] | None:
    """``(format, byte of the first frame)`` of a chain that begins in ``data``, or None.

    MPEG audio and AAC may begin after other bytes, as in a stream that was cut out of a longer one. A source shorter
    than four frames has to consist of frames from its first byte to its last, or to name its encoder.
    """
    if mpeg_frame(data, 0) and any(mark in data[:MARK_BYTES] for mark in ENCODER_MARKS):
        return "mpeg", 0
    if _is_free_format(data):
        return "free", 0
    for name, (pattern, parse) in HEADERS.items():
        for match in pattern.finditer(data) if name in CUT_OUT else filter(None, [pattern.match(data)]):
            if _is_chain(data, match.start(), parse, MIN_CHAIN_OF.get(name, MIN_CHAIN)):
                return name, match.start()
    return None


def _is_free_format(data: bytes) -> bool:
    """MPEG frames whose header leaves the bit rate open: the same header recurs at a constant distance."""
    if not FREE_FORMAT.match(data):
        return False
    header = re.compile(re.escape(data[:2]) + b"[" + re.escape(bytes({data[2] & 0xFD, data[2] | 2})) + b"]")
    for match in header.finditer(data, MIN_FREE_BYTES, MAX_FREE_BYTES):
        distance = at = match.start()
        frames = 1
        while frames < MIN_CHAIN and (following := header.search(data, at + distance - 1, at + distance + 4)):
            at, frames = following.start(), frames + 1
        if frames == MIN_CHAIN:
            return True
    return False


def _is_chain(data: bytes, start: int, parse: Callable[[bytes, int], Frame | None], wanted: int) -> bool:
    at, found, key = start, 0, None
    frames = set()
    while found < wanted:
        frame = parse(data, at)
        if frame is None:
            return start == 0 and (at == len(data) or found > 1 and at > len(data) - MAX_HEADER_BYTES)
        if key is None:
            key = frame.key
        elif frame.key != key:
            return False
        frames.add(data[at : at + frame.size])
        at, found = at + frame.size, found + 1
    return start == 0 or len(frames) > 1  # samples that repeat themselves, such as a test tone, would be a chain
