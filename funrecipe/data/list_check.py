"""The lists of a data directory checked in one pass by id, in little memory however long they are.

It finds what ``kaldi_dir.check_data_dir`` finds, which holds the lists; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from funrecipe.data.kaldi_dir import (
    Utterance,
    fix_hint,
    is_listed,
    parse_number,
    raise_for_errors_in,
    raise_for_missing_texts,
    recordings_in,
    require_lists,
    segments_in,
    warning_of_group,
)
from funrecipe.data.list_file import ListLine, Problem
from funrecipe.data.utterance_stream import lines_by_id


class ListCheck:
    """What is wrong with the lists. With ``segments``, the recordings are held in memory.

    Args:
        allow_pipes: take ``wav.scp`` entries that end in ``|``; they are errors otherwise.
    Attributes:
        num_utterances: that can be used.
        num_texts: ids in ``text``; None: there is no such file.
        problems: by list, and within a list lines first, then duplicates, then contents.
    Raises:
        DataError: no such folder, no ``wav.scp``, or a list that cannot be opened.
    """

    def __init__(self, data_dir: str | Path, *, allow_pipes: bool = False) -> None:
        self.folder = require_lists(data_dir)
        self.num_utterances = 0
        self._missing_texts: list[str] = []
        sources: list[_List] = [recordings := _Recordings(self.folder / "wav.scp", allow_pipes)]
        if is_listed(self.folder / "segments"):
            sources.append(_Segments(self.folder / "segments", recordings))
        utterances = iter(sources[-1])
        first = next(utterances, None)  # reads wav.scp first: of several lists that cannot be read, it is named
        kinds = {"text": _Texts, "utt2spk": _Fields, "utt2dur": _Durations}
        others = [kind(self.folder / name) for name, kind in kinds.items() if is_listed(self.folder / name)]
        if first is not None:
            self._follow(first, others)
            for utterance in utterances:
                self._follow(utterance, others)
        for other in others:
            other.finish()
        self.num_texts = next((other.num_lines for other in others if isinstance(other, _Texts)), None)
        self.problems = [problem for source in sources for problem in source.problems()]
        if not self.num_utterances:
            self.problems.append(Problem("no usable utterance", str(self.folder / "wav.scp")))
        self.problems += [problem for other in others for problem in other.problems(sources[-1].path)]

    def raise_for_errors(self) -> None:
        """As that of a ``DataDir``."""
        raise_for_errors_in(self.problems, self.folder, fix_hint(self.folder))

    def raise_for_missing_texts(self) -> None:
        """As that of a ``DataDir``."""
        raise_for_missing_texts(self._missing_texts, self.num_utterances, self.folder)

    def _follow(self, utterance: Utterance, others: list[_Follower]) -> None:
        self.num_utterances += 1
        for other in others:
            if not other.take(utterance.utt_id):
                self._missing_texts.append(f"{utterance.where}: {utterance.utt_id}")


class _List:
    """One list: its lines by id, and its problems."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.of_lines: list[Problem] = []
        self.of_repetitions: list[Problem] = []
        self.of_contents: list[Problem] = []
        self.unsorted: list[Problem] = []

    def lines(self) -> Iterator[ListLine]:
        return lines_by_id(self.path, self.of_lines, self.of_repetitions, unsorted=self.unsorted)

    def __iter__(self) -> Iterator[Utterance]:
        raise NotImplementedError

    def problems(self) -> list[Problem]:
        """In the order of the file within each kind."""
        return [
            *self.of_lines,
            *sorted(self.of_repetitions, key=_line_number),
            *sorted(self.of_contents, key=_line_number),
        ]


class _Recordings(_List):
    def __init__(self, path: Path, allow_pipes: bool) -> None:
        super().__init__(path)
        self._allow_pipes = allow_pipes

    def __iter__(self) -> Iterator[Utterance]:
        return recordings_in(self.lines(), self.path, self.of_contents, allow_pipes=self._allow_pipes)

    def problems(self) -> list[Problem]:
        self.of_lines += self.unsorted
        return super().problems()


class _Segments(_List):
    def __init__(self, path: Path, recordings: _Recordings) -> None:
        super().__init__(path)
        self._recordings, self._unused = recordings, _Group("recording without a segment")

    def __iter__(self) -> Iterator[Utterance]:
        recordings = {recording.utt_id: recording for recording in self._recordings}
        used: set[str] = set()
        yield from segments_in(_note_recordings(self.lines(), used), self.path, recordings, self.of_contents)
        for key, recording in recordings.items():
            if key not in used:
                self._unused.add(recording.line_number, key)

    def problems(self) -> list[Problem]:
        return [*super().problems(), *self._unused.warning(self._recordings.path)]


def _note_recordings(lines: Iterable[ListLine], used: set[str]) -> Iterator[ListLine]:
    for line in lines:
        used.add(line.value.split(maxsplit=1)[0] if line.value else "")
        yield line


class _Group:
    """Ids with the same problem: the first of its list, and how many there are."""

    def __init__(self, what: str) -> None:
        self.what, self._count, self._first = what, 0, (0, "")

    def add(self, number: int, key: str) -> None:
        if not self._count or number < self._first[0]:
            self._first = number, key
        self._count += 1

    def warning(self, path: Path, *, has_line: bool = True) -> list[Problem]:
        """One, or none."""
        if not self._count:
            return []
        number, key = self._first
        return [warning_of_group(self.what, key, f"{path}:{number}" if has_line else str(path), self._count - 1)]


class _Follower(_List):
    """A list that is read as far as the utterances are."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.num_lines = 0
        self._lines = self.lines()
        self._unknown = _Group("no such utterance")
        self._line = next(self._lines, None)

    def take(self, key: str) -> bool:
        """Go on to the line of an utterance; False where one is wanted and there is none."""
        while (line := self._line) is not None and line.key < key:
            self._look_at(line, is_known=False)
            self._line = next(self._lines, None)
        if line is None or line.key != key:
            return self._lack(key)
        self._look_at(line, is_known=True)
        self._line = next(self._lines, None)
        return True

    def finish(self) -> None:
        """Read the lines after the last utterance."""
        while self._line is not None:
            self._look_at(self._line, is_known=False)
            self._line = next(self._lines, None)

    def problems(self, source: Path | None = None) -> list[Problem]:
        """``source``: the list that has the utterances."""
        return [*super().problems(), *self._unknown.warning(self.path)]

    def _lack(self, key: str) -> bool:
        return True

    def _look_at(self, line: ListLine, *, is_known: bool) -> None:
        raise NotImplementedError


class _Texts(_Follower):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._empty, self._without = _Group("empty text"), _Group("no text, decoded but not scored")

    def _look_at(self, line: ListLine, *, is_known: bool) -> None:
        self.num_lines += 1
        if not line.value:
            self._empty.add(line.number, line.key)
        if not is_known:
            self._unknown.add(line.number, line.key)

    def _lack(self, key: str) -> bool:
        self._without.add(0, key)
        return False

    def problems(self, source: Path | None = None) -> list[Problem]:
        assert source is not None
        self._unknown.what = f"text without an entry in {source.name}"
        return [
            *_List.problems(self),
            *self._empty.warning(self.path),
            *self._unknown.warning(self.path),
            *self._without.warning(source, has_line=False),
        ]


class _Fields(_Follower):
    """A list of exactly two fields a line."""

    def _look_at(self, line: ListLine, *, is_known: bool) -> None:
        if (num_fields := len(line.value.split())) != 1:
            what = f"expected two fields, found {num_fields + 1}"
            self.of_contents.append(Problem(what, f"{self.name}:{line.number}"))
        elif not is_known:
            self._unknown.add(line.number, line.key)
        else:
            self._look_at_value(line)

    def _look_at_value(self, line: ListLine) -> None:
        pass


class _Durations(_Fields):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._bad: list[ListLine] = []

    def _look_at_value(self, line: ListLine) -> None:
        seconds = parse_number(line.value)
        if seconds is None or seconds < 0:
            self._bad.append(line)

    def problems(self, source: Path | None = None) -> list[Problem]:
        return [
            *super().problems(source),
            *(Problem(f"'{value}' is not a duration in seconds for '{key}'", self.name)
              for _, key, value in sorted(self._bad)),
        ]  # fmt: skip


def _line_number(problem: Problem) -> int:
    return int(problem.where.rpartition(":")[2])
