"""Lines by id in byte order, whatever order their file has, in little memory."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

from funrecipe.files import special_file

RUN_ROWS = 200_000  # sorted at once in memory

Row = tuple[str, int, str]  # id, line number, value


def look_over(path: Path | str) -> tuple[bool, int]:
    """Whether the ids of a file never descend, and how many of its lines are not blank. A file that cannot be read
    twice, or at all, counts as in order; its reader reports the error."""
    is_ascending, previous, num_lines = True, "", 0
    if special_file(path):
        return is_ascending, num_lines
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for line in file:
                if fields := line.split(None, 1):
                    num_lines += 1
                    if fields[0] < previous:
                        is_ascending = False
                    previous = fields[0]
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
