"""Texts by utterance id: lines of ``id<blank>text``, as in Kaldi's ``text`` and SpeechIO's ``trans.txt``."""

from __future__ import annotations

import math
from pathlib import Path

from funrecipe.errors import MAX_LISTED_PROBLEMS, DataError, list_problems


def read_texts(path: Path | str) -> dict[str, str]:
    """Id → text (empty when the line holds the id only).

    Blank lines, a byte order mark and CRLF are accepted; a duplicate id, a
    file that is not UTF-8 or not there raises ``DataError`` with file:line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", where=str(path)) from None
    try:
        # Only \n ends a line: a text may hold U+2028 and its kin, which str.splitlines() would cut at.
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line_number = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"not UTF-8: byte 0x{data[error.start]:02x}",
            where=f"{path}:{line_number}",
            hint="convert the file, for example with: iconv -f GB18030 -t UTF-8",
        ) from None
    if 0 in data:
        where = f"{path}:{data.count(10, 0, data.index(0)) + 1}"
        raise DataError("not text: a zero byte", where=where, hint="UTF-16 is converted with: iconv -f UTF-16 -t UTF-8")
    texts: dict[str, str] = {}
    duplicates: list[str] = []
    for line_number, line in enumerate(lines, start=1):
        fields = line.split(None, 1)
        if not fields:
            continue
        utterance_id = fields[0]
        if utterance_id in texts:
            duplicates.append(f"{path}:{line_number}: {utterance_id}")
        texts[utterance_id] = fields[1].strip() if len(fields) == 2 else ""
    if duplicates:
        raise DataError(
            f"{len(duplicates)} duplicate id(s):\n{list_problems(duplicates)}",
            where=duplicates[0].rsplit(": ", 1)[0] if len(duplicates) <= MAX_LISTED_PROBLEMS else str(path),
            hint="keep one line for each id",
        )
    return texts


def read_durations(path: Path | str) -> dict[str, float]:
    """Id → seconds from an ``utt2dur`` file; a value that is no number ≥ 0 raises ``DataError``."""
    durations: dict[str, float] = {}
    for utterance_id, text in read_texts(path).items():
        try:
            durations[utterance_id] = float(text)
        except ValueError:
            durations[utterance_id] = math.nan
        if not durations[utterance_id] >= 0:
            raise DataError(f"'{text}' is not a duration in seconds", where=f"{path}: {utterance_id}")
    return durations
