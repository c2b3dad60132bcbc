"""Texts by id, from a file or a pipe: lines of ``id text`` as in Kaldi's ``text`` and SpeechIO's ``trans.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from funrecipe.data.in_order import look_over, sort_rows
from funrecipe.data.list_file import (
    ListLine,
    Problem,
    read_unique_lines,
    refuse_special,
    unique_in_order,
    usable_lines,
)
from funrecipe.data.utterances import parse_number, raise_for_errors_in
from funrecipe.errors import DataError
from funrecipe.files import special_file

HINT = "fix the lines"


def read_texts(path: str | Path, *, may_be_pipe: bool = False) -> dict[str, str]:
    """``id text`` lines of one file, in file order; a text may be empty.

    Raises:
        DataError: the file cannot be read, or it has errors; all are listed.
    """
    path, problems = Path(path), list[Problem]()
    if not may_be_pipe:
        refuse_special(path)
    texts = read_unique_lines(path, problems).values
    raise_for_errors_in(problems, path, HINT)
    return texts


def stream_texts(path: str | Path) -> Iterator[tuple[str, str]]:
    """Id and text in byte order of the ids, whatever the order of the file or pipe, in little memory.

    Raises:
        DataError: as ``read_texts``, after the last line.
    """
    path, problems = Path(path), list[Problem]()
    lines = usable_lines(path, problems)
    if special_file(path) or not look_over(path)[0]:  # a pipe can be read only once
        rows = sort_rows((key, number, value) for number, key, value in lines)
        lines = (ListLine(number, key, value) for key, number, value in rows)
    for _, key, text in unique_in_order(lines, path, problems):
        yield key, text.strip()
    raise_for_errors_in(problems, path, HINT)


def texts_as_listed(path: str | Path) -> Iterator[tuple[str, str]]:
    """As ``stream_texts``, in the order of the file; of texts that differ for one id, the first."""
    path, problems, given = Path(path), list[Problem](), set[str]()
    for _, key, text in usable_lines(path, problems):
        if key not in given:
            given.add(key)
            yield key, text.strip()
    raise_for_errors_in(problems, path, HINT)


def stream_durations(path: str | Path) -> Iterator[tuple[str, float]]:
    """Id and seconds of an ``utt2dur`` file; a value that is not a number ≥ 0 raises ``DataError``."""
    for utterance_id, text in stream_texts(path):
        duration_s = parse_number(text)
        if duration_s is None or duration_s < 0:
            raise DataError(f"'{text}' is not a duration in seconds", where=f"{path}: {utterance_id}")
        yield utterance_id, duration_s
