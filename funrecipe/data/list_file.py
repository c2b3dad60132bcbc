"""One Kaldi list file (``wav.scp``, ``text``, ``segments``, ...) -> numbered lines, and their problems.

A line is ``key``, spaces or tabs, ``value``; the value may hold spaces. Nothing here raises for a bad
line: every problem is collected with ``file:line``, so that one run shows them all.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from funrecipe.errors import DataError
from funrecipe.files import special_file

BLANKS = " \t"
BLANK_LINE = "blank line"  # a problem
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab


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


@dataclass
class UniqueLines:
    """The lines of a file by key, in file order, in little memory (lists of a million lines are read).

    Attributes:
        values: key -> value.
        numbers: line numbers, in the order of ``values``.
    """

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    numbers: array[int] = field(default_factory=lambda: array("L"))

    def where(self) -> Iterator[tuple[str, int]]:
        """(key, line number) of every line."""
        return zip(self.values, self.numbers)


def read_unique_lines(path: Path, problems: list[Problem]) -> UniqueLines:
    """The usable lines of ``path`` by key.

    Repeated lines are dropped with a warning; contradicting ones are an error, and all are dropped.

    Handled with one warning per file: byte order mark, CRLF, blank lines, leading spaces.
    Reported line by line as errors: bytes that are not UTF-8, control characters, an unsafe key.

    Args:
        problems: gets what was found.

    Raises:
        DataError: the file cannot be read at all.
    """
    found = UniqueLines(path)
    repeated: list[ListLine] = []
    values, numbers = found.values, found.numbers
    for line in usable_lines(path, problems):
        number, key, value = line
        if key in values:
            repeated.append(line)
        else:
            values[key] = value
            numbers.append(number)
    _drop_repeated(found, repeated, problems)
    return found


def warning_of_order(line: ListLine, path: Path) -> Problem:
    """``line`` is the first whose id is before that of the line before it."""
    what = f"not sorted from '{line.key}' on (Kaldi needs sorted lists, funrecipe does not)"
    return Problem(what, f"{path}:{line.number}", is_error=False)


def unique_in_order(lines: Iterable[ListLine], path: Path, problems: list[Problem]) -> Iterator[ListLine]:
    """As ``read_unique_lines``, for lines whose keys never descend and of which no more than two are held."""
    first: ListLine | None = None
    is_contradicted = False
    for line in lines:
        if first is not None:
            if line.key == first.key:
                problem = _repetition(first, line, path)
                problems.append(problem)
                is_contradicted |= problem.is_error
                continue
            if not is_contradicted:
                yield first
        first, is_contradicted = line, False
    if first is not None and not is_contradicted:
        yield first


def _drop_repeated(found: UniqueLines, repeated: list[ListLine], problems: list[Problem]) -> None:
    """Report duplicate keys; those that contradict their first line are dropped."""
    if not repeated:
        return
    wanted = {line.key for line in repeated}
    first = {key: ListLine(number, key, found.values[key]) for key, number in found.where() if key in wanted}
    contradicted = set()
    for line in repeated:
        if problem := _repetition(first[line.key], line, found.path):
            problems.append(problem)
            if problem.is_error:
                contradicted.add(line.key)
    kept = [(key, number) for key, number in found.where() if key not in contradicted]
    found.values = {key: found.values[key] for key, _ in kept}
    found.numbers = array("L", (number for _, number in kept))


def _repetition(first: ListLine, line: ListLine, path: Path) -> Problem:
    same = first.value == line.value
    what = f"duplicate id '{line.key}', first in line {first.number}" + ("" if same else " with another value")
    return Problem(what, f"{path}:{line.number}", is_error=not same)


def refuse_special(path: Path) -> None:
    """Raises DataError for a list of a data directory that is a pipe or a device: reading it may never end."""
    if what := special_file(path):
        raise DataError(f"the list is {what}, not a file", where=str(path), hint="write it to a file")


def usable_lines(path: Path, problems: list[Problem]) -> Iterator[ListLine]:
    """See ``read_unique_lines``; problems of the whole file are appended after its last line."""
    try:
        with open(path, "rb") as file:
            yield from usable_lines_in(file, path, problems)
    except OSError as error:
        raise DataError(f"cannot read the list: {error.strerror}", where=str(path)) from None


def usable_lines_in(file: Iterable[bytes], path: Path, problems: list[Problem]) -> Iterator[ListLine]:
    """The same of an open file; ``path`` is what problems call it."""
    odd: dict[str, list[int]] = {}
    for number, raw in enumerate(file, 1):
        if number == 1:
            raw = _without_mark(raw, path, odd)
        line = _plain_line(number, raw) or _parse_line(number, raw, path, odd, problems)
        if line is not None:
            yield line
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


def _plain_line(number: int, raw: bytes) -> ListLine | None:
    """A line as nearly all are: an id, one space, a value without spaces at its ends, nothing invisible; else None."""
    try:
        text = raw.removesuffix(b"\n").decode("utf-8")
    except UnicodeDecodeError:
        return None
    key, _, value = text.partition(" ")
    if key and value and text.isprintable() and value[0] != " " != value[-1] and "/" not in key and ".." not in key:
        return ListLine(number, key, value)
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
