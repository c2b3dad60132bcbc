"""Lines by id in byte order, whatever order their file has, in little memory."""

from __future__ import annotations

import heapq
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from operator import le
from pathlib import Path
from typing import IO, Generic, TypeVar

from funrecipe.files import special_file

RUN_ROWS = 200_000  # sorted at once in memory
CHUNK = 20_000  # rows of a list that are held at once
BLOCK_LINES = 1000  # read together

Row = tuple[str, int, str]  # id, line number, value
Value = TypeVar("Value")
Columns = tuple[Sequence[str], Sequence[Value]]  # ids and their values


class RowsAhead(Generic[Value]):
    """Rows in order of ids, the next of which are held."""

    def __init__(self, blocks: Iterable[Columns[Value]]) -> None:
        self._blocks = iter(blocks)
        self._ids, self._values = list[str](), list[Value]()

    def hold(self, least: int) -> bool:
        """Read on until that many rows are held, if there are so many; whether there are any."""
        while len(self._ids) < least and (block := next(self._blocks, None)):
            self._ids += block[0]
            self._values += block[1]
        return bool(self._ids)

    @property
    def last(self) -> str | None:
        """The id of the last of at least ``CHUNK`` rows; None: there are no more rows."""
        return self._ids[-1] if self.hold(CHUNK) else None

    def up_to(self, last: str) -> dict[str, Value]:
        """Take the rows up to this id, but no more than are held."""
        self.hold(1)
        stop = bisect_right(self._ids, last)
        rows = dict(zip(self._ids[:stop], self._values))
        self._ids, self._values = self._ids[stop:], self._values[stop:]
        return rows


def look_over(path: Path | str) -> tuple[bool, int]:
    """Whether the ids of a file never descend, and how many of its lines are not blank. A file that cannot be read
    twice, or at all, counts as in order; its reader reports the error."""
    is_ascending, previous, num_lines = True, "", 0
    if special_file(path):
        return is_ascending, num_lines
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            while block := list(islice(file, BLOCK_LINES)):
                ids = [fields[0] for line in block if (fields := line.split(None, 1))]
                num_lines += len(ids)
                is_ascending = is_ascending and all(map(le, [previous, *ids], ids))
                previous = ids[-1] if ids else previous
    except OSError:
        pass
    return is_ascending, num_lines


def sort_rows(rows: Iterable[Row], folder: str | os.PathLike[str] | None = None) -> Iterator[Row]:
    """Rows by id and line number, sorted on the disk of ``folder`` (default: where temporary files go).

    Neither ids nor values hold a newline, nor ids a tab.
    """
    source = iter(rows)
    text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    runs: list[IO[str]] = []
    with ExitStack() as stack:
        while run := sorted(islice(source, RUN_ROWS)):
            file: IO[str] = stack.enter_context(tempfile.TemporaryFile("w+", dir=folder, **text))  # type: ignore[call-overload]
            file.writelines(f"{key}\t{number}\t{value}\n" for key, number, value in run)
            file.seek(0)
            runs.append(file)
        yield from heapq.merge(*map(_rows_of, runs))


def _rows_of(file: IO[str]) -> Iterator[Row]:
    for line in file:
        key, number, value = line[:-1].split("\t", 2)
        yield key, int(number), value
