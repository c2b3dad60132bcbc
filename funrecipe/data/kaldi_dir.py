"""A Kaldi data directory -> utterances, texts and every problem of its lists.

``wav.scp`` (required), ``text``, ``segments``, ``utt2spk``, ``utt2dur``. Audio is not opened here:
the worker reports files that it cannot read, and continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from funrecipe.data.list_file import Problem
from funrecipe.data.lists import Lists, Recordings
from funrecipe.data.texts import read_texts
from funrecipe.data.utterances import Utterance, fix_hint, raise_for_errors_in, resolve_audio

__all__ = ["DataDir", "Utterance", "check_data_dir", "read_data_dir", "read_scp", "read_texts", "resolve_audio"]


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


def read_data_dir(data_dir: str | Path, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory that must be free of errors (warnings are in ``problems``).

    Raises:
        DataError: as ``check_data_dir``, or with the first ten errors and a count. UnsafeFileError: one would run a
            command.
    """
    data = check_data_dir(data_dir, allow_pipes=allow_pipes)
    raise_for_errors_in(data.problems, data.path, fix_hint(data.path))
    return data


def read_scp(path: str | Path, *, allow_pipes: bool = False) -> tuple[Utterance, ...]:
    """The utterances of one ``wav.scp``, in byte order of their ids.

    Raises:
        DataError, UnsafeFileError: as ``read_data_dir``.
    """
    listed = Recordings(Path(path), None, allow_pipes)
    recordings = tuple(listed)
    problems = listed.problems()
    if not recordings:
        problems.append(Problem("no usable utterance", str(path)))
    raise_for_errors_in(problems, Path(path), "fix the lines, or remove them")
    return recordings


def check_data_dir(data_dir: str | Path, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory and collect all its problems.

    Args:
        data_dir: the folder.
        allow_pipes: take ``wav.scp`` entries that end in ``|``; they are errors otherwise.

    Raises:
        DataError: no such folder, no ``wav.scp``, or a list that cannot be opened.
    """
    lists = Lists(data_dir, allow_pipes=allow_pipes, keep=True)
    utterances = tuple(lists)
    kept = lists.kept
    texts, speakers, durations_s = kept.get("text"), kept.get("utt2spk", {}), kept.get("utt2dur", {})
    return DataDir(lists.folder, utterances, texts, speakers, durations_s, tuple(lists.problems()))
