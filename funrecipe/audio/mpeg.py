"""The length and the parts of MPEG audio (mp3, mp2).

A file has no length other than what a first frame tagged Xing, Info or VBRI states. libsndfile guesses one from the bit
rate of the first frame or believes that tag, and stops there: the end of a variable-rate file, or the second of two
joined files, would be lost. Here the frames are counted, and each run of frames is decoded by itself and without its
tag, through a pipe, where libsndfile does not guess. A segment is decoded from a few frames before it.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field, replace
from typing import BinaryIO, NamedTuple

from funrecipe.audio.frames import Frame, find_frames, mpeg_frame
from funrecipe.audio.parts import MAX_PARTS, Part, read_bytes
from funrecipe.audio.signatures import HEAD_BYTES, id3_bytes
from funrecipe.errors import DataError

MAX_FRAME_BYTES = 2881
DECODER_DELAY = 529
# Frames decoded before those that are wanted: a frame refers to up to 511 bytes of earlier ones and overlaps with the
# last one. Found on 16 and 44.1 kHz: from 20 on the samples are those of decoding from the beginning.
FRAMES_BEFORE = 24


class Tag(NamedTuple):
    """What a Xing, Info or VBRI frame states: frames and bytes, from its own first one on, of the stream.

    ``delay`` and ``padding``: samples that the encoder put before and after those of its source.
    """

    frames: int | None
    size: int = 0
    delay: int = 0
    padding: int = 0


@dataclass
class _Run:
    """Frames of one kind that begin with ``tag``, whose frame is not among them; ``starts``: their first bytes."""

    start: int
    stop: int
    frame: Frame
    tag: Tag | None
    starts: array[int]


@dataclass(frozen=True)
class MpegPart(Part):
    """A run of frames: ``starts``, their first bytes in the source, and samples of each."""

    starts: array[int] = field(default_factory=lambda: array("Q"))
    frame_samples: int = 1152

    def cut(self, first: int, stop: int | None) -> tuple[Part, int]:
        total = self.samples or 0
        first = min(first, total)
        begin = max(0, (self.lead + first) // self.frame_samples - FRAMES_BEFORE)
        end = len(self.starts)
        if stop is not None and stop < total:
            end = min(end, -(-(self.lead + stop) // self.frame_samples) + 1)
        part = replace(
            self,
            start=self.starts[begin] if begin < len(self.starts) else self.stop,
            stop=self.starts[end] if end < len(self.starts) else self.stop,
            samples=(total if end == len(self.starts) else min(total, stop or 0)) - first,
            lead=self.lead + first - begin * self.frame_samples,
            decoded=(end - begin) * self.frame_samples,
            starts=self.starts[begin:end],
        )
        return part, first


def mpeg_parts(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """The runs of equal frames, each from its tag, if it has one, to the next.

    Raises:
        DataError: no frames, fewer than a tag states, or something else between them.
    """
    data = read_bytes(file, start, stop)
    found = find_frames(data[:HEAD_BYTES])
    if found is None or found[0] != "mpeg":
        raise DataError("no MPEG audio frames where they should begin")
    runs: list[_Run] = []
    at = found[1]
    while following := _next_frame(data, at, start):
        at, frame = following
        tag = _read_tag(data, at, frame)
        if tag or not runs or frame.key != runs[-1].frame.key or at != runs[-1].stop:
            runs.append(_Run(at, at, frame, tag, array("Q")))
        if not tag:
            runs[-1].starts.append(start + at)
        at += frame.size
        runs[-1].stop = at
        if len(runs) > MAX_PARTS:
            raise DataError(f"damaged: more than {MAX_PARTS} streams of MPEG audio")
    if not runs:
        raise DataError("the file is cut off in its first MPEG audio frame")
    ends_in_frame = at < len(data) and mpeg_frame(data, at) is not None
    parts = [_part(run, start, len(data), ends_in_frame) for run in runs]
    return [part for part in parts if part.samples]


def _part(run: _Run, offset: int, total: int, ends_in_frame: bool) -> Part:
    """The frames of a run without that of its tag, which libsndfile would believe; its delay and padding are cut."""
    frames, lead, padding = len(run.starts), 0, 0
    if run.tag is not None and run.tag.frames is not None:
        stated = run.tag.frames
        # Some encoders count the tag's own frame; then nothing else says that a frame is missing.
        is_short = ends_in_frame or run.start + run.tag.size > total
        if frames + (0 if is_short else 1) < stated:
            raise DataError(f"the file is cut off: {frames} of {stated} frames")
        if frames <= stated and run.tag.delay:  # else the tag is about something else
            lead, padding = run.tag.delay + DECODER_DELAY, max(0, run.tag.padding - DECODER_DELAY)
    decoded = frames * run.frame.samples
    return MpegPart(
        run.starts[0] if frames else offset + run.stop,
        offset + run.stop,
        max(0, decoded - lead - padding),
        run.frame.rate_hz,
        is_counted=False,
        from_pipe=True,
        lead=lead,
        decoded=decoded,
        starts=run.starts,
        frame_samples=run.frame.samples,
    )


def _next_frame(data: bytes, at: int, offset: int) -> tuple[int, Frame] | None:
    """The next whole frame from ``at``, past tags and zeros; None at the end. DataError for anything else."""
    while at < len(data):
        frame = mpeg_frame(data, at)
        if frame is not None:
            return (at, frame) if at + frame.size <= len(data) else None
        skipped = _tag_bytes(data, at)
        if not skipped:
            if len(data) - at < MAX_FRAME_BYTES:
                return None  # the rest of a frame, or an unknown tag
            raise DataError(f"damaged: no MPEG audio frame at byte {offset + at}")
        at += skipped
    return None


def _tag_bytes(data: bytes, at: int) -> int:
    """Size of the ID3, APE or Lyrics3 tag, or of the run of zeros, at ``at``; 0 if there is none."""
    head = data[at : at + 32]
    if head[:4] == b"TAG+":
        return 227
    if head[:3] == b"TAG":
        return 128
    if size := id3_bytes(head):
        return size
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, flags = struct.unpack_from("<I4xI", head, 12)
        return int(size) + (32 if flags >> 29 & 1 else 0)
    if head[:11] == b"LYRICSBEGIN" and (end := data.find(b"LYRICS200", at)) >= 0:
        return end + 9 - at
    rest = data[at : at + (1 << 16)]
    return len(rest) - len(rest.lstrip(b"\0"))


def _read_tag(data: bytes, at: int, frame: Frame) -> Tag | None:
    """The tag in the frame at ``at``: Xing or Info (with LAME's part), or VBRI; None for a frame of audio."""
    body = data[at + 4 : at + frame.size]
    if body[32:36] == b"VBRI" and len(body) >= 50:
        return Tag(int.from_bytes(body[46:50], "big"))
    tag = body[frame.side_bytes :]
    if tag[:4] not in (b"Xing", b"Info") or len(tag) < 12:
        return None
    flags = int.from_bytes(tag[4:8], "big")
    frames = int.from_bytes(tag[8:12], "big") if flags & 1 else None
    at = 8 + 4 * (flags & 1)
    size = int.from_bytes(tag[at : at + 4], "big") if flags & 2 else 0
    lame = tag[at + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1) :]
    delays = int.from_bytes(lame[21:24], "big") if len(lame) >= 24 else 0
    return Tag(frames, size, delays >> 12, delays & 0xFFF)
