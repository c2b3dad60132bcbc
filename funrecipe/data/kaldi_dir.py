"""A Kaldi data directory -> utterances, texts and every problem of its lists.

``wav.scp`` (required), ``text``, ``segments``, ``utt2spk``, ``utt2dur``. Audio is not opened here:
the worker reports files that it cannot read, and continues.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from funrecipe.data.list_file import ListLine, Problem, read_unique_lines
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


@dataclass(frozen=True)
class DataDir:
    """The lists of a data directory. ``utterances`` are in byte order of their ids, whatever order the files have."""

    path: Path
    utterances: tuple[Utterance, ...]
    texts: dict[str, str] | None  # None: no file ``text``
    speakers: dict[str, str]
    durations_s: dict[str, float]  # of utt2dur
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.is_error]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.is_error]

    def raise_for_errors(self) -> None:
        """Raise DataError with the first ten errors and a count; UnsafeFileError when one would run a command."""
        raise_for_errors_in(self.problems, self.path, fix_hint(self.path))

    def raise_for_missing_texts(self) -> None:
        """Raise DataError if ``text`` exists and lacks utterances: a truncated one would score only those it has."""
        if self.texts is None:
            return
        missing = [f"{u.where}: {u.utt_id}" for u in self.utterances if u.utt_id not in self.texts]
        raise_for_missing_texts(missing, len(self.utterances), self.path)


def read_data_dir(data_dir: str | Path, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory that must be free of errors (warnings are in ``problems``).

    Raises:
        DataError, UnsafeFileError: see ``DataDir.raise_for_errors`` and ``check_data_dir``.
    """
    data = check_data_dir(data_dir, allow_pipes=allow_pipes)
    data.raise_for_errors()
    return data


def read_scp(path: str | Path, *, allow_pipes: bool = False) -> tuple[Utterance, ...]:
    """The utterances of one ``wav.scp``, in byte order of their ids.

    Raises:
        DataError, UnsafeFileError: as ``read_data_dir``.
    """
    problems: list[Problem] = []
    lines = read_unique_lines(Path(path), problems, warn_unsorted=True).lines()
    recordings = list(recordings_in(lines, Path(path), problems, allow_pipes=allow_pipes))
    if not recordings:
        problems.append(Problem("no usable utterance", str(path)))
    raise_for_errors_in(problems, Path(path), "fix the lines, or remove them")
    return tuple(sorted(recordings, key=attrgetter("utt_id")))


def read_texts(path: str | Path) -> dict[str, str]:
    """``id text`` lines of one file, in file order; a text may be empty.

    Raises:
        DataError: the file cannot be read, or it has errors; all are listed.
    """
    path = Path(path)
    problems: list[Problem] = []
    texts = read_unique_lines(path, problems).values
    raise_for_errors_in(problems, path, "fix the lines")
    return texts


def check_data_dir(data_dir: str | Path, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory and collect all its problems.

    Args:
        data_dir: the folder.
        allow_pipes: take ``wav.scp`` entries that end in ``|``; they are errors otherwise.

    Raises:
        DataError: no such folder, no ``wav.scp``, or a list that cannot be opened.
    """
    folder = require_lists(data_dir)
    problems: list[Problem] = []
    lines = read_unique_lines(folder / "wav.scp", problems, warn_unsorted=True).lines()
    utterances = list(recordings_in(lines, folder / "wav.scp", problems, allow_pipes=allow_pipes))
    if is_listed(folder / "segments"):
        recordings = {recording.utt_id: recording for recording in utterances}
        utterances = _read_segments(folder / "segments", recordings, problems)
        del recordings
    if not utterances:
        problems.append(Problem("no usable utterance", str(folder / "wav.scp")))
    ids = {utterance.utt_id: utterance.utt_id for utterance in utterances}
    source = folder / ("segments" if is_listed(folder / "segments") else "wav.scp")
    texts = _read_texts(folder / "text", ids, source, problems)
    speakers = _read_fields(folder / "utt2spk", ids, problems)
    durations_s = _read_durations(folder / "utt2dur", ids, problems)
    utterances.sort(key=attrgetter("utt_id"))
    return DataDir(folder, tuple(utterances), texts, speakers, durations_s, tuple(problems))


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
    return f"write what can be used: funrecipe validate --data_dir {folder} --fix OUT_DIR"


def raise_for_errors_in(problems: Iterable[Problem], where: Path, hint: str) -> None:
    errors = [problem for problem in problems if problem.is_error]
    if not errors:
        return
    what = f"{count(len(errors), 'error')} in the lists\n{list_problems([str(problem) for problem in errors])}"
    if any(problem.is_unsafe for problem in errors):
        hint = "read the commands; if you trust them, rerun with --allow_pipes true"
        raise UnsafeFileError(what, where=str(where), hint=hint)
    raise DataError(what, where=str(where), hint=hint)


def raise_for_missing_texts(missing: Sequence[str], num_utterances: int, folder: Path) -> None:
    """Raise DataError if there are any in ``missing``, one line each."""
    if missing:
        raise DataError(
            f"{len(missing)} of {num_utterances} utterances have no text\n{list_problems(missing)}",
            where=str(folder / "text"),
            hint="complete it, pass --partial_text true to score those with a text, or --fix OUT_DIR to keep those",
        )


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


def _read_segments(path: Path, recordings: dict[str, Utterance], problems: list[Problem]) -> list[Utterance]:
    lines = read_unique_lines(path, problems)
    utterances = list(segments_in(lines.lines(), path, recordings, problems))
    used = {value.split(maxsplit=1)[0] if value else "" for value in lines.values.values()}
    unused = ((r.utt_id, r.where) for r in recordings.values() if r.utt_id not in used)
    _warn_of_group("recording without a segment", unused, problems)
    return utterances


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


def _read_texts(path: Path, ids: dict[str, str], source: Path, problems: list[Problem]) -> dict[str, str] | None:
    if not is_listed(path):
        return None
    lines = read_unique_lines(path, problems, keys=ids)
    texts = lines.values
    empty = ((key, f"{path}:{number}") for key, number in lines.where() if not texts[key])
    _warn_of_group("empty text", empty, problems)
    without_audio = ((key, f"{path}:{number}") for key, number in lines.where() if key not in ids)
    _warn_of_group(f"text without an entry in {source.name}", without_audio, problems)
    without_text = sorted(key for key in ids if key not in texts)
    _warn_of_group("no text, decoded but not scored", ((key, str(source)) for key in without_text), problems)
    return texts


def _read_fields(path: Path, ids: dict[str, str], problems: list[Problem]) -> dict[str, str]:
    """A file of exactly two fields a line (``utt2spk``, ``utt2dur``); {} when it is not there."""
    if not is_listed(path):
        return {}
    lines = read_unique_lines(path, problems, keys=ids)
    fields: dict[str, Any] = {}
    shared: dict[Any, Any] = {}
    unknown: list[Any] = []
    for key, number in lines.where():
        value = lines.values[key]
        if len(value.split()) != 1:
            where = f"{path}:{number}"
            problems.append(Problem(f"expected two fields, found {len(value.split()) + 1}", where))
        elif key not in ids:
            unknown.append((key, f"{path}:{number}"))
        else:
            fields[key] = shared.setdefault(value, value)  # a speaker has many utterances
    _warn_of_group("no such utterance", unknown, problems)
    return fields


def _read_durations(path: Path, ids: dict[str, str], problems: list[Problem]) -> dict[str, float]:
    durations_s = {}
    for key, value in _read_fields(path, ids, problems).items():
        duration_s = parse_number(value)
        if duration_s is None or duration_s < 0:
            problems.append(Problem(f"'{value}' is not a duration in seconds for '{key}'", str(path)))
        else:
            durations_s[key] = duration_s
    return durations_s


def parse_number(text: str) -> float | None:
    """A finite decimal number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _warn_of_group(what: str, located: Iterable[tuple[str, str]], problems: list[Problem]) -> None:
    """One warning for all ids with the same problem: the first one and how many there are."""
    found = iter(located)
    if (first := next(found, None)) is not None:
        problems.append(warning_of_group(what, *first, sum(1 for _ in found)))


def warning_of_group(what: str, key: str, where: str, num_others: int) -> Problem:
    more = f" and {num_others} more ids" if num_others else ""
    return Problem(f"{what}: '{key}'{more}", where, is_error=False)
