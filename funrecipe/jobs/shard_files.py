"""The files that a shard writes, and which of their lines count.

A shard's folder ``output.N/`` holds

* ``1best_recog/{text,token,score,timestamp,nbest,rich,estimated}``: lines ``id value``, the last one only of utterances
  whose times are estimated;
* ``done``: ``id <tab> audio seconds <tab> decoding seconds <tab> stamp of the audio <tab> check``, and before the check
  the number of channels of audio that has several. The check is the CRC-32 of this line and of what the other files
  hold for the id. A result counts only where it holds, so what a kill, a crash of the machine or a bad disk left
  incomplete is decoded again;
* ``failed.scp``: ``id <tab> audio <tab> reason``;
* ``attempt.<host>-<random>/``: the same files while a worker is writing it (``results.ShardWriter``).
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from funrecipe.files import write_text

RESULTS = "1best_recog"
REQUIRED = ("text", "token", "score")
_REQUIRED = frozenset(REQUIRED)
OPTIONAL = ("timestamp", "nbest", "rich", "estimated")
FILES = REQUIRED + OPTIONAL
NAMES = {name: name.encode() for name in FILES}
ATTEMPT = "attempt."


class Done(NamedTuple):
    """One line of ``done``: what a decoded utterance cost, and the stamp and channels of its audio."""

    audio_s: float
    decode_s: float
    stamp: str = ""
    channels: int = 1


class Record(NamedTuple):
    """A result whose check holds. ``lines``: by file name its whole line there; an optional file may have none."""

    key: bytes
    done: Done
    lines: dict[str, bytes]

    @property
    def done_line(self) -> bytes:
        return done_line(self.key, self.done, self.lines)


def done_line(key: bytes, done: Done, lines: Mapping[str, bytes]) -> bytes:
    channels = f"\t{done.channels}" if done.channels > 1 else ""
    cost = to_bytes(f"{done.audio_s:.4f}\t{done.decode_s:.4f}\t{done.stamp}{channels}")
    return b"%s\t%s\t%08x\n" % (key, cost, _check(cost, lines))


def _check(cost: bytes, lines: Mapping[str, bytes]) -> int:
    parts = [cost]
    for name in FILES:
        if name in lines:
            parts += (NAMES[name], lines[name])
    return zlib.crc32(b"".join(parts))


def load_records(folder: Path) -> Iterator[Record]:
    """The results that count, in the order of ``done``; lines may be in any order. Holds one shard in memory."""
    values = {name: dict(_keyed_lines(folder / RESULTS / name, b" ")) for name in FILES}
    for key, line in dict(_keyed_lines(folder / "done", b"\t")).items():
        lines = {name: content[key] for name, content in values.items() if key in content}
        if (record := _record(key, line, lines)) is not None:
            yield record


class SortedShard:
    """A published shard read through once, in constant memory.

    Iterating gives the results that count. Afterwards ``is_clean`` says whether that was all there is: no line out of
    order, twice, damaged or of an unknown id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_clean = True

    def __iter__(self) -> Iterator[Record]:
        with ExitStack() as stack:
            readers = {}
            for name in FILES:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    readers[name] = _Reader(stack.enter_context(open(self.folder / RESULTS / name, "rb")))
            pairs = tuple(readers.items())
            last = b""
            for key, line in _keyed_lines(self.folder / "done", b"\t"):
                if key <= last:
                    self.is_clean = False
                    continue
                last, start = key, key + b" "
                lines = {}
                for name, reader in pairs:
                    if reader.line.startswith(start):  # nearly always
                        lines[name] = reader.line
                        reader.line = reader.next()
                    elif found := reader.take(key):
                        lines[name] = found
                record = _record(key, line, lines)
                if record is None:
                    self.is_clean = False
                else:
                    yield record
            for reader in readers.values():
                self.is_clean &= not reader.left_out and not reader.line
        self.is_clean &= not any(_is_torn(self.folder / name) for name in ("done", *(f"{RESULTS}/{n}" for n in FILES)))


class _Reader:
    """Lines by ascending key; ``left_out`` counts those that were skipped, ``line`` is the next one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.next = partial(next, _complete_lines(file), b"")
        self.left_out = 0
        self.line = self.next()

    def take(self, key: bytes) -> bytes | None:
        """The line of ``key``; None: there is none."""
        while self.line and (found := self.line.partition(b" ")[0].rstrip(b"\n")) <= key:
            line, self.line = self.line, self.next()
            if found == key:
                return line
            self.left_out += 1
        return None


def read_done(path: Path) -> dict[str, Done]:
    """The content of ``done``, not compared with the other files: good for times, not for results."""
    return dict(parse_done(line for _, line in _keyed_lines(path, b"\t")))


def parse_done(lines: Iterable[bytes]) -> Iterator[tuple[str, Done]]:
    for line in lines:
        key, _, rest = line.partition(b"\t")
        if (done := _parse_cost(rest.rpartition(b"\t")[0])) is not None:
            yield to_text(key), done


def read_failed(path: Path) -> dict[str, tuple[str, str]]:
    """id -> (audio, reason); audio may hold tabs, a reason does not"""
    lines = (to_text(line).rstrip("\n").partition("\t") for _, line in _keyed_lines(path, b"\t"))
    rows = ((key, *rest.rpartition("\t")) for key, _, rest in lines)
    return {key: (audio, reason) for key, audio, tab, reason in rows if tab}


def write_failed(path: Path, failed: Mapping[str, tuple[str, str]]) -> None:
    """``failed.scp``, sorted by id; no file where nothing failed."""
    if failed:
        write_text(path, (f"{key}\t{audio}\t{reason}\n" for key, (audio, reason) in sorted(failed.items())))
    else:
        path.unlink(missing_ok=True)


def _record(key: bytes, line: bytes, lines: dict[str, bytes]) -> Record | None:
    cost, _, check = line[len(key) + 1 : -1].rpartition(b"\t")
    if check != b"%08x" % _check(cost, lines) or not lines.keys() >= _REQUIRED:
        return None
    done = _parse_cost(cost)
    return None if done is None else Record(key, done, lines)


def _parse_cost(cost: bytes) -> Done | None:
    try:
        audio_s, decode_s, stamp, *channels = cost.split(b"\t")
        return Done(float(audio_s), float(decode_s), to_text(stamp), int(channels[0]) if channels else 1)
    except ValueError:  # a garbled line is no result
        return None


def _keyed_lines(path: Path, separator: bytes) -> Generator[tuple[bytes, bytes], None, None]:
    """``(id, line)`` of every complete line."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for line in _complete_lines(file):
            yield line.partition(separator)[0].rstrip(b"\n"), line


def _complete_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; a last one without a line end is incomplete and left out."""
    return (line for line in file if line.endswith(b"\n"))


def _is_torn(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-1, 2)
            return file.read() != b"\n"
    except OSError:  # empty, or not there
        return False


def to_bytes(text: str) -> bytes:
    """UTF-8; bytes of an id or a path that are not UTF-8 stay as they were."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """The inverse of :func:`to_bytes`."""
    return data.decode("utf-8", "surrogateescape")
