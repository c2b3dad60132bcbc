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
from funrecipe.data.utterances import (
    Utterance,
    fix_hint,
    raise_for_errors_in,
    raise_for_missing_texts,
    resolve_audio,
)

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
