"""Lines of ``wav.scp`` and ``segments`` as utterances, and the errors common to all readers of data directories."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from funrecipe.data.list_file import ListLine, Problem
from funrecipe.errors import DataError, UnsafeFileError, count, list_problems


class Utterance(NamedTuple):
    """One utterance of a data directory.

    Attributes:
        utt_id: its id.
        audio: a path, ``file.ark:offset``, or a command that ends in ``|`` (only where pipes are allowed).
        start_s, end_s: the part of the audio, from ``segments``; None means the beginning, the end.
        list_path, line_number: where it was listed.
        recording_id: its entry in ``wav.scp``; the utterance itself where there are no ``segments``.
    """

    utt_id: str
    audio: str
    start_s: float | None = None
    end_s: float | None = None
    recording_id: str = ""
    list_path: str = ""
    line_number: int = 0

    @property
    def where(self) -> str:
        """The ``file:line`` where it was listed."""
        return f"{self.list_path}:{self.line_number}"


def require_lists(data_dir: str | Path) -> Path:
    """The folder. Raises DataError: it is not there, or has no ``wav.scp``."""
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(f"no data directory '{data_dir}'", hint="give a folder with wav.scp")
    if not (folder / "wav.scp").exists():
        raise DataError("no wav.scp in the data directory", where=str(folder), hint="write lines of ID PATH")
    return folder


def is_listed(path: Path) -> bool:
    """A dangling link counts as a list that cannot be read, not as a missing one."""
    return os.path.lexists(path)


def fix_hint(folder: Path) -> str:
    return f"write what can be used: funrecipe validate --data_dir {shlex.quote(str(folder))} --fix OUT_DIR"


def raise_for_errors_in(problems: Iterable[Problem], where: Path, hint: str) -> None:
    errors = [problem for problem in problems if problem.is_error]
    if not errors:
        return
    what = f"{count(len(errors), 'error')} in the lists\n{list_problems([str(problem) for problem in errors])}"
    if any(problem.is_unsafe for problem in errors):
        hint = "read the commands; if you trust them, rerun with --allow_pipes true"
        raise UnsafeFileError(what, where=str(where), hint=hint)
    raise DataError(what, where=str(where), hint=hint)


def resolve_audio(audio: str, folder: str) -> str:
    """A relative path from the working directory, as in Kaldi, else from ``folder`` if it exists there.

    The result is absolute, so that a worker started elsewhere finds the file; a path that does not exist
    is returned unchanged, and so is an absolute one.
    """
    if audio.startswith("/"):
        return audio
    path, colon, offset = audio.rpartition(":")
    if not (colon and offset.isdecimal() and path):
        path, colon, offset = audio, "", ""
    for candidate in (path, os.path.join(folder, path)):
        if os.path.exists(candidate):
            return os.path.abspath(candidate) + colon + offset
    return audio


def recordings_in(
    lines: Iterable[ListLine], path: Path, problems: list[Problem], *, allow_pipes: bool
) -> Iterator[Utterance]:
    """The recordings of ``wav.scp``; a line that cannot be used becomes a problem."""
    name, folder = str(path), str(path.parent)
    for number, key, audio in lines:
        if not audio:
            problems.append(Problem(f"no path after the id '{key}'", f"{name}:{number}"))
        elif audio.startswith("|"):
            problems.append(Problem(f"'{key}' is an output pipe: {audio}", f"{name}:{number}", is_unsafe=True))
        elif audio.endswith("|") and not allow_pipes:
            problems.append(Problem(f"'{key}' would run a command: {audio}", f"{name}:{number}", is_unsafe=True))
        else:
            place = audio if audio.endswith("|") else resolve_audio(audio, folder)
            yield Utterance(key, place, None, None, key, name, number)


def segments_in(
    lines: Iterable[ListLine], path: Path, recordings: Mapping[str, Utterance], problems: list[Problem]
) -> Iterator[Utterance]:
    """The utterances of ``segments``; a line that cannot be used becomes a problem.

    ``utterance recording start end`` in seconds; an end of -1 is the end of the recording.
    """
    name = str(path)
    for number, key, value in lines:
        where, fields = f"{name}:{number}", value.split()
        if len(fields) != 3:
            problems.append(Problem(f"expected 'ID RECORDING START END', found {len(fields) + 1} fields", where))
            continue
        recording = recordings.get(fields[0])
        start_s, end_s = parse_number(fields[1]), parse_number(fields[2])
        if recording is None:
            problems.append(Problem(f"recording '{fields[0]}' of '{key}' is not in wav.scp", where))
        elif start_s is None or end_s is None or start_s < 0 or not (end_s > start_s or end_s == -1):
            problems.append(Problem(f"'{key}' has invalid times: '{fields[1]}' to '{fields[2]}' seconds", where))
        else:
            end = None if end_s == -1 else end_s
            yield Utterance(key, recording.audio, start_s, end, recording.utt_id, name, number)


def parse_number(text: str) -> float | None:
    """A finite decimal number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
