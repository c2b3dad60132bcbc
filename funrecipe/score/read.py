"""Texts by utterance id: lines of ``id<blank>text``, as in Kaldi's ``text`` and SpeechIO's ``trans.txt``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from funrecipe.errors import MAX_LISTED_PROBLEMS, DataError, list_problems


def read_texts(path: Path | str, *, like: Iterable[str] = (), is_label: bool = False) -> dict[str, str]:
    """Id → text (empty when the line holds the id only).

    Blank lines, a byte order mark and CRLF are accepted; a duplicate id, a
    missing file or one that is not UTF-8 raises ``DataError`` with file:line.

    Args:
        like: ids of another list in its order, mostly the same: their strings are taken, which saves memory.
        is_label: the texts are few different ones (speakers), kept once each.
    """
    texts: dict[str, str] = {}
    labels: dict[str, str] = {}
    duplicates: list[str] = []
    others = iter(like)
    other = next(others, None)
    try:
        # Only \n ends a line: a text may hold U+2028 and its kin, which str.splitlines() would cut at.
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for line_number, line in enumerate(file, start=1):
                if "\0" in line:
                    hint = "convert UTF-16 with: iconv -f UTF-16 -t UTF-8"
                    raise DataError("not text: a zero byte", where=f"{path}:{line_number}", hint=hint)
                fields = line.split(None, 1)
                if not fields:
                    continue
                utterance_id = fields[0]
                if utterance_id in texts:
                    duplicates.append(f"{path}:{line_number}: {utterance_id}")
                while other is not None and other < utterance_id:
                    other = next(others, None)
                if other == utterance_id:
                    utterance_id, other = other, next(others, None)
                text = fields[1].rstrip() if len(fields) == 2 else ""
                texts[utterance_id] = labels.setdefault(text, text) if is_label else text
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", where=str(path)) from None
    if duplicates:
        raise DataError(
            f"{len(duplicates)} duplicate id(s):\n{list_problems(duplicates)}",
            where=duplicates[0].rsplit(": ", 1)[0] if len(duplicates) <= MAX_LISTED_PROBLEMS else str(path),
            hint="keep one line for each id",
        )
    return texts


def read_sides(ref: Path | str | None, hyp: Path | str | None) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses, with equal ids as the same strings."""
    refs = read_texts(str(ref))
    return refs, read_texts(str(hyp), like=refs)


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


def read_durations(path: Path | str, *, like: Iterable[str] = ()) -> dict[str, float]:
    """Id → seconds from an ``utt2dur`` file; a value that is not a number ≥ 0 raises ``DataError``."""
    texts: Mapping[str, str] = read_texts(path, like=like)
    durations: dict[str, float] = {}
    for utterance_id, text in texts.items():
        try:
            durations[utterance_id] = float(text)
        except ValueError:
            durations[utterance_id] = math.nan
        if not durations[utterance_id] >= 0:
            raise DataError(f"'{text}' is not a duration in seconds", where=f"{path}: {utterance_id}")
    return durations
