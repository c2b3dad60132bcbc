"""Texts by utterance id: lines of ``id<blank>text``, as in Kaldi's ``text`` and SpeechIO's ``trans.txt``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from funrecipe.data.in_order import Row, look_over, sort_rows
from funrecipe.errors import MAX_LISTED_PROBLEMS, DataError, count, list_problems


def read_texts(path: Path | str) -> dict[str, str]:
    """Id → text (empty when the line holds the id only), in the order of the file.

    Blank lines, a byte order mark and CRLF are accepted; a duplicate id, a
    missing file or one that is not UTF-8 raises ``DataError`` with file:line.
    """
    texts: dict[str, str] = {}
    duplicates: list[tuple[int, str]] = []
    for utterance_id, line_number, text in _rows(path):
        if utterance_id in texts:
            duplicates.append((line_number, utterance_id))
        texts[utterance_id] = text
    _refuse_duplicates(path, duplicates)
    return texts


def stream_texts(path: Path | str) -> Iterator[tuple[str, str]]:
    """Id and text in byte order of the ids, whatever the order of the file, in little memory. Raises as
    ``read_texts``, for duplicates after the last one."""
    rows = _rows(path)
    if not (Path(path).is_file() and look_over(path)[0]):  # a pipe can be read only once
        rows = sort_rows(rows)
    previous: str | None = None
    duplicates: list[tuple[int, str]] = []
    for utterance_id, line_number, text in rows:
        if utterance_id == previous:
            duplicates.append((line_number, utterance_id))
        else:
            previous = utterance_id
            yield utterance_id, text
    _refuse_duplicates(path, duplicates)


def texts_as_listed(path: Path | str) -> Iterator[tuple[str, str]]:
    """Id and text of every line, in the order of the file. Raises as ``read_texts``, but for duplicates."""
    return ((utterance_id, text) for utterance_id, _, text in _rows(path))


def stream_durations(path: Path | str) -> Iterator[tuple[str, float]]:
    """Id and seconds of an ``utt2dur`` file; a value that is not a number ≥ 0 raises ``DataError``."""
    for utterance_id, text in stream_texts(path):
        try:
            duration_s = float(text)
        except ValueError:
            duration_s = math.nan
        if not duration_s >= 0:
            raise DataError(f"'{text}' is not a duration in seconds", where=f"{path}: {utterance_id}")
        yield utterance_id, duration_s


def _rows(path: Path | str) -> Iterator[Row]:
    try:
        # Only \n ends a line: a text may hold U+2028 and its kin, which str.splitlines() would cut at.
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for line_number, line in enumerate(file, start=1):
                if "\0" in line:
                    hint = "convert UTF-16 with: iconv -f UTF-16 -t UTF-8"
                    raise DataError(
                        "the file is not text: it holds a zero byte", where=f"{path}:{line_number}", hint=hint
                    )
                fields = line.split(None, 1)
                if len(fields) == 2:
                    yield fields[0], line_number, fields[1].rstrip()
                elif fields:
                    yield fields[0], line_number, ""
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", where=str(path)) from None


def _refuse_duplicates(path: Path | str, duplicates: list[tuple[int, str]]) -> None:
    if not duplicates:
        return
    duplicates.sort()
    raise DataError(
        f"{count(len(duplicates), 'duplicate id')}:\n{list_problems([f'{path}:{n}: {key}' for n, key in duplicates])}",
        where=f"{path}:{duplicates[0][0]}" if len(duplicates) <= MAX_LISTED_PROBLEMS else str(path),
        hint="keep one line for each id",
    )


def _not_utf8(path: Path | str) -> DataError:
    """The error that names the first line that cannot be decoded."""
    data = Path(path).read_bytes()
    try:
        data.decode("utf-8")
        what, position = "not UTF-8", 0
    except UnicodeDecodeError as error:
        what, position = f"not UTF-8: byte 0x{data[error.start]:02x}", error.start
    where = f"{path}:{data.count(10, 0, position) + 1}"
    return DataError(what, where=where, hint="convert the file, for example with: iconv -f GB18030 -t UTF-8")
