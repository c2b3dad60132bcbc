"""Texts by id, from a file or a pipe: lines of ``id text`` as in Kaldi's ``text`` and SpeechIO's ``trans.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from funrecipe.data.in_order import Columns, look_over
from funrecipe.data.list_file import (
    Problem,
    line_number,
    read_unique_lines,
    refuse_special,
    sorted_lines,
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
    texts, _ = read_unique_lines(path, problems)
    raise_for_errors_in(problems, path, HINT)
    return texts


def text_blocks(path: str | Path) -> Iterator[Columns[str]]:
    """Ids and texts, some at a time, in byte order of the ids, whatever the order of the file or pipe, in little
    memory.

    Raises:
        DataError: as ``read_texts``, after the last line; errors are in the order of the file.
    """
    path, problems = Path(path), list[Problem]()
    blocks = usable_lines(path, problems)
    if special_file(path) or not look_over(path)[0]:  # a pipe can be read only once
        blocks = sorted_lines(blocks)
    for _, keys, texts in unique_in_order(blocks, path, problems):
        yield keys, [*map(str.strip, texts)]
    raise_for_errors_in(sorted(problems, key=line_number), path, HINT)


def stream_texts(path: str | Path) -> Iterator[tuple[str, str]]:
    """The same, a pair at a time."""
    for keys, texts in text_blocks(path):
        yield from zip(keys, texts)


def texts_as_listed(path: str | Path) -> Iterator[tuple[str, str]]:
    """As ``stream_texts``, in the order of the file; of texts that differ for one id, the first."""
    path, problems, given = Path(path), list[Problem](), set[str]()
    for _, keys, texts in usable_lines(path, problems):
        for key, text in zip(keys, texts):
            if key not in given:
                given.add(key)
                yield key, text.strip()
    raise_for_errors_in(problems, path, HINT)


def read_durations(path: str | Path) -> dict[str, float]:
    """See ``duration_blocks``."""
    return {key: duration_s for block in duration_blocks(path) for key, duration_s in zip(*block)}


def duration_blocks(path: str | Path) -> Iterator[Columns[float]]:
    """Ids and seconds of an ``utt2dur`` file; a value that is not a number ≥ 0 raises ``DataError``."""
    for keys, texts in text_blocks(path):
        durations_s = list[float]()
        for key, text in zip(keys, texts):
            duration_s = parse_number(text)
            if duration_s is None or duration_s < 0:
                yield keys[: len(durations_s)], durations_s  # what stands before the error is right
                what = f"'{text}' is not a duration in seconds"
                raise DataError(what, where=f"{path}: {key}", hint="give a number of 0 or more")
            durations_s.append(duration_s)
        yield keys, durations_s
