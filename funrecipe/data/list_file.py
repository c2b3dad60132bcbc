"""One Kaldi list file (``wav.scp``, ``text``, ``segments``, ...) -> numbered lines, and what is odd about them.

A line is ``key``, blanks or tabs, ``value``; the value may hold blanks. Nothing here raises for a bad
line: every problem is collected with ``file:line``, so that one run shows them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from funrecipe.errors import DataError

BLANKS = " \t"
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data directory.

    Attributes:
        what: one line, with the value as given.
        where: ``file:line``.
        is_error: False for what was put right on reading (a warning).
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


def read_list_file(path: Path, problems: list[Problem]) -> list[ListLine]:
    """The usable lines of ``path`` in file order; problems are appended to ``problems``.

    Handled with one warning per file: byte order mark, CRLF, blank lines, leading blanks.
    An error each: bytes that are not UTF-8, control characters, a key that is no safe name.

    Raises:
        DataError: the file cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the list: {error.strerror}", where=str(path)) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the list is UTF-16, not UTF-8", where=str(path), hint="iconv -f UTF-16 -t UTF-8")
    odd: dict[str, list[int]] = {}
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        odd["starts with a byte order mark"] = [1]
    raw_lines = data.split(b"\n")
    if raw_lines and not raw_lines[-1]:
        raw_lines.pop()
    lines = []
    for number, raw in enumerate(raw_lines, 1):
        if raw.endswith(b"\r"):
            raw = raw[:-1]
            odd.setdefault("line end is CRLF", []).append(number)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(f"not UTF-8 (byte {error.start + 1} of the line)", f"{path}:{number}"))
            continue
        body = text.strip(BLANKS)
        if not body:
            odd.setdefault("blank line", []).append(number)
            continue
        if text[0] in BLANKS:
            odd.setdefault("blanks before the id", []).append(number)
        line = ListLine(number, *_split_key(body))
        if (fault := _fault_of(line)) is None:
            lines.append(line)
        else:
            problems.append(Problem(fault, f"{path}:{number}"))
    for what, numbers in odd.items():
        more = f" ({len(numbers)} lines)" if len(numbers) > 1 else ""
        problems.append(Problem(what + more, f"{path}:{numbers[0]}", is_error=False))
    return lines


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


def unique_lines(lines: list[ListLine], path: Path, problems: list[Problem]) -> dict[str, ListLine]:
    """Lines by key. Repeated lines are dropped with a warning; contradicting ones are an error and all are dropped."""
    by_key: dict[str, ListLine] = {}
    contradicted = set()
    for line in lines:
        first = by_key.setdefault(line.key, line)
        if first is line:
            continue
        same = first.value == line.value
        what = f"id '{line.key}' repeats line {first.number}" + ("" if same else " with another value")
        problems.append(Problem(what, f"{path}:{line.number}", is_error=not same))
        if not same:
            contradicted.add(line.key)
    return {key: line for key, line in by_key.items() if key not in contradicted}
