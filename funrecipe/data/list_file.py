"""One Kaldi list file (``wav.scp``, ``text``, ``segments``, ...) -> numbered lines, and their problems.

A line is ``key``, spaces or tabs, ``value``; the value may hold spaces. Nothing here raises for a bad
line: every problem is collected with ``file:line``, so that one run shows them all.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain, islice
from operator import lt
from pathlib import Path
from typing import NamedTuple

from funrecipe.data.in_order import BLOCK_LINES, sort_rows
from funrecipe.errors import DataError
from funrecipe.files import special_file

BLANKS = " \t"
PIPE_BYTES = 1 << 16  # what a pipe holds
BLANK_LINE = "blank line"  # a problem
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab
_VALUE = re.compile(r" (.*)\n")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data directory.

    Attributes:
        what: one line, with the value as given.
        where: ``file:line``.
        is_error: False for what was corrected on reading (a warning).
        is_unsafe: it would run code (a pipe that the user did not allow).
    """

    what: str
    where: str
    is_error: bool = True
    is_unsafe: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ListLine(NamedTuple):
    number: int
    key: str
    value: str


class Lines(NamedTuple):
    """Lines that follow each other, as columns: many lines are held with few objects."""

    numbers: Sequence[int]
    keys: Sequence[str]
    values: Sequence[str]

    @classmethod
    def of(cls, lines: Sequence[ListLine]) -> Lines:
        return cls([line.number for line in lines], [line.key for line in lines], [line.value for line in lines])

    def lines(self) -> Iterator[ListLine]:
        return map(ListLine, *self)


def read_unique_lines(path: Path, problems: list[Problem]) -> tuple[dict[str, str], array[int]]:
    """The first usable line of each key in ``path``: value by key, in the order of the file, and the line numbers.

    Further lines of a key are reported: a warning, or an error where the value is another one.

    Handled with one warning per file: byte order mark, CRLF, blank lines, leading spaces.
    Reported line by line as errors: bytes that are not UTF-8, control characters, an unsafe key.

    Args:
        problems: gets what was found.

    Raises:
        DataError: the file cannot be read at all.
    """
    values: dict[str, str] = {}
    numbers, repeated = array("L"), list[ListLine]()  # lists of a million lines are read
    for number, key, value in chain.from_iterable(zip(*block) for block in usable_lines(path, problems)):
        if key in values:
            repeated.append(ListLine(number, key, value))
        else:
            values[key] = value
            numbers.append(number)
    first = dict(zip(values, numbers)) if repeated else {}
    for line in repeated:
        problems.append(_repetition(ListLine(first[line.key], line.key, values[line.key]), line, path))
    return values, numbers


def warning_of_order(line: ListLine, path: Path) -> Problem:
    """``line`` is the first whose id is before that of the line before it."""
    what = f"not sorted from '{line.key}' on (Kaldi needs sorted lists, funrecipe does not)"
    return Problem(what, f"{path}:{line.number}", is_error=False)


def unique_in_order(blocks: Iterable[Lines], path: Path, problems: list[Problem]) -> Iterator[Lines]:
    """The first line of each key, none of a contradicted one, of lines whose keys never descend."""
    first: ListLine | None = None  # of its key, not yielded yet
    is_contradicted = False
    for block in blocks:
        keys = [first.key, *block.keys] if first else block.keys
        if block.keys and not is_contradicted and all(map(lt, keys, islice(keys, 1, None))):  # as nearly always
            if first:
                yield Lines.of([first])
            yield Lines(block.numbers[:-1], block.keys[:-1], block.values[:-1])
            first = ListLine(block.numbers[-1], block.keys[-1], block.values[-1])
            continue
        unique = []
        for line in block.lines():
            if first is not None:
                if line.key == first.key:
                    problem = _repetition(first, line, path)
                    problems.append(problem)
                    is_contradicted |= problem.is_error
                    continue
                if not is_contradicted:
                    unique.append(first)
            first, is_contradicted = line, False
        yield Lines.of(unique)
    if first is not None and not is_contradicted:
        yield Lines.of([first])


def sorted_lines(blocks: Iterable[Lines], scratch: Path | None = None) -> Iterator[Lines]:
    """In byte order of the keys, then as in the file, sorted on the disk of ``scratch``."""
    rows = sort_rows(chain.from_iterable(zip(keys, numbers, values) for numbers, keys, values in blocks), scratch)
    while block := list(islice(rows, BLOCK_LINES)):
        keys, numbers, values = zip(*block)
        yield Lines(numbers, keys, values)


def _repetition(first: ListLine, line: ListLine, path: Path) -> Problem:
    same = first.value == line.value
    what = f"duplicate id '{line.key}', first in line {first.number}" + ("" if same else " with another value")
    return Problem(what, f"{path}:{line.number}", is_error=not same)


def line_number(problem: Problem) -> int:
    """Of a problem that is in one line."""
    return int(problem.where.rpartition(":")[2])


def refuse_special(path: Path) -> None:
    """Raises DataError for a list of a data directory that is a pipe or a device: reading it may never end."""
    if what := special_file(path):
        raise DataError(f"the list is {what}, not a file", where=str(path), hint="write it to a file")


def usable_lines(path: Path, problems: list[Problem]) -> Iterator[Lines]:
    """See ``read_unique_lines``; problems of the whole file are appended after its last line."""
    try:
        with open(path, "rb") as file:
            yield from usable_lines_in(blocks_of(file), path, problems)
    except OSError as error:
        what = f"cannot read the list: {error.strerror}"
        raise DataError(what, where=str(path), hint="name a file that is there and can be read") from None


def blocks_of(file: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of an open file, many at a time."""
    return iter(lambda: list(islice(file, BLOCK_LINES)), [])


def arriving_blocks(stream: BufferedReader) -> Iterator[list[bytes]]:
    """The lines of a pipe or a terminal as they arrive: at a time, all whole ones that are there."""
    begun = b""
    while arrived := stream.read1(PIPE_BYTES):
        *whole, begun = (begun + arrived).split(b"\n")
        if whole:
            yield [line + b"\n" for line in whole]
    if begun:
        yield [begun]


def usable_lines_in(blocks: Iterable[list[bytes]], path: Path, problems: list[Problem]) -> Iterator[Lines]:
    """The same of an open file in blocks of lines; ``path`` is what problems call it."""
    odd: dict[str, list[int]] = {}
    number = 1
    for raw in blocks:
        if number == 1:
            raw[0] = _without_mark(raw[0], path, odd)
        if plain := _plain_lines(number, raw):
            yield plain
        else:
            parsed = (_parse_line(of_line, line, path, odd, problems) for of_line, line in enumerate(raw, number))
            yield Lines.of([line for line in parsed if line is not None])
        number += len(raw)
    for what, numbers in odd.items():
        more = f" ({len(numbers)} lines)" if len(numbers) > 1 else ""
        problems.append(Problem(what + more, f"{path}:{numbers[0]}", is_error=False))


def _without_mark(raw: bytes, path: Path, odd: dict[str, list[int]]) -> bytes:
    """The first line without a byte order mark."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the list is UTF-16, not UTF-8", where=str(path), hint="convert it: iconv -f UTF-16 -t UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        odd["starts with a byte order mark"] = [1]
        return raw[3:]
    return raw


def _parse_line(
    number: int, raw: bytes, path: Path, odd: dict[str, list[int]], problems: list[Problem]
) -> ListLine | None:
    try:
        text = raw.removesuffix(b"\n").decode("utf-8")
    except UnicodeDecodeError as error:
        if raw.endswith((b"\r\n", b"\r")):
            odd.setdefault("line end is CRLF", []).append(number)
        problems.append(Problem(f"not UTF-8 (byte {error.start + 1} of the line)", f"{path}:{number}"))
        return None
    if text.endswith("\r"):
        text = text[:-1]
        odd.setdefault("line end is CRLF", []).append(number)
    body = text.strip(BLANKS)
    if not body:
        odd.setdefault(BLANK_LINE, []).append(number)
        return None
    if text[0] in BLANKS:
        odd.setdefault("spaces before the id", []).append(number)
    line = ListLine(number, *_split_key(body))
    if (fault := _fault_of(line)) is None:
        return line
    problems.append(Problem(fault, f"{path}:{number}"))
    return None


def _plain_lines(number: int, raw: Sequence[bytes]) -> Lines | None:
    """Lines that all are as nearly all lines are: an id, one space, a value without spaces at its ends, nothing
    invisible; else None."""
    try:
        text = b"".join(raw).removesuffix(b"\n").decode("utf-8") + "\n"
    except UnicodeDecodeError:
        return None
    fields = _VALUE.split(text)
    keys, values = fields[:-1:2], fields[1::2]
    ids, contents = "\n".join(keys), "\n" + "\n".join(values) + "\n"
    is_whole = len(keys) == len(raw) and ids.count("\n") == len(keys) - 1 and all(keys) and all(values)
    has_spaces = "\n " in contents or " \n" in contents
    if is_whole and not has_spaces and "/" not in ids and ".." not in ids and text.replace("\n", "").isprintable():
        return Lines(range(number, number + len(raw)), keys, values)
    return None


def _split_key(body: str) -> tuple[str, str]:
    fields = body.replace("\t", " ", 1).split(" ", 1) if "\t" in body.split(" ", 1)[0] else body.split(" ", 1)
    return fields[0], fields[1].lstrip(BLANKS) if len(fields) == 2 else ""


def _fault_of(line: ListLine) -> str | None:
    """Why this line cannot be used, or None. Ids become file names and line starts, hence the strictness."""
    key, value = line.key, line.value
    if not key.isprintable():
        return f"id {key!r} holds a control or invisible character"
    if "/" in key or ".." in key:
        return f"id '{key}' holds '/' or '..'"
    if CONTROL.search(value):
        return f"control character in the line of '{key}'"
    return None
