"""The lists of a data directory side by side, by id: in one pass, and in little memory however long they are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from funrecipe.data.in_order import look_over
from funrecipe.data.list_file import (
    Lines,
    ListLine,
    Problem,
    line_number,
    refuse_special,
    sorted_lines,
    unique_in_order,
    usable_lines,
    warning_of_order,
)
from funrecipe.data.utterances import (
    Utterance,
    fix_hint,
    is_listed,
    parse_number,
    raise_for_errors_in,
    recordings_in,
    require_lists,
    segments_in,
)
from funrecipe.errors import DataError, list_problems


class Lists:
    """The utterances in byte order of their ids, for one pass. With ``segments``, the recordings are held in memory.

    Args:
        names: of ``text``, ``utt2spk`` and ``utt2dur``, those to be read along with ``wav.scp`` and ``segments``.
        scratch: folder on whose disk lists are sorted that are not in order.
        allow_pipes: take ``wav.scp`` entries that end in ``|``; they are errors otherwise.
        keep: hold the values of the lists ``names`` in memory.
    Attributes:
        num_lines: lines that list utterances, at least as many as there are utterances.
        num_utterances: usable utterances yielded so far.
        others: the lists of ``names`` that there are, with the value for the utterance yielded last.
    Raises:
        DataError: no such folder, no ``wav.scp``; when iterated, a list that cannot be opened.
    """

    def __init__(
        self,
        data_dir: str | Path,
        names: Iterable[str] = ("text", "utt2spk", "utt2dur"),
        *,
        scratch: Path | None = None,
        allow_pipes: bool = False,
        keep: bool = False,
    ) -> None:
        self.folder = require_lists(data_dir)
        self.num_utterances = 0
        self.others: dict[str, _Follower] = {}
        self._names, self._scratch, self._keep = tuple(names), scratch, keep
        self._missing_texts: list[str] = []
        recordings = Recordings(self.folder / "wav.scp", scratch, allow_pipes)
        self._sources: list[Recordings | _Segments] = [recordings]
        if is_listed(self.folder / "segments"):
            self._sources.append(_Segments(self.folder / "segments", scratch, recordings))
        self.num_lines = self._sources[-1].look_over()

    def __iter__(self) -> Iterator[Utterance]:
        utterances = iter(self._sources[-1])
        utterance = next(utterances, None)  # reads wav.scp first: of several unreadable lists, it is the one named
        for name in self._names:
            if is_listed(self.folder / name):
                self.others[name] = FOLLOWERS[name](self.folder / name, self._scratch, self._keep)
        while utterance is not None:
            self.num_utterances += 1
            for other in self.others.values():
                if not other.take(utterance.utt_id):
                    self._missing_texts.append(f"{utterance.where}: {utterance.utt_id}")
            yield utterance
            utterance = next(utterances, None)
        for other in self.others.values():
            other.finish()

    @property
    def num_texts(self) -> int | None:
        """Ids in ``text``; None: there is no such file."""
        return self.others["text"].num_lines if "text" in self.others else None

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """What each list says, by id."""
        return {name: other.kept for name, other in self.others.items()}

    def problems(self) -> list[Problem]:
        """After the last utterance: by list, and within a list lines first, then duplicates, then contents."""
        found = [problem for source in self._sources for problem in source.problems()]
        if not self.num_utterances:
            found.append(Problem("no usable utterance", str(self.folder / "wav.scp")))
        return found + [p for other in self.others.values() for p in other.problems(self._sources[-1].path)]

    def raise_for_errors(self) -> None:
        """Raise DataError with the first ten errors and a count; UnsafeFileError when one would run a command."""
        raise_for_errors_in(self.problems(), self.folder, fix_hint(self.folder))

    def raise_for_missing_texts(self) -> None:
        """Raise DataError if ``text`` exists and lacks utterances: a truncated one would score only those it has."""
        if missing := self._missing_texts:
            raise DataError(
                f"{len(missing)} of {self.num_utterances} utterances have no text\n{list_problems(missing)}",
                where=str(self.folder / "text"),
                hint="complete it, pass --partial_text true to score those with a text, or --fix OUT_DIR to keep those",
            )


class UtteranceStream(Lists):
    """Utterances with their duration in seconds, if ``utt2dur`` has it; ``text`` and ``utt2spk`` are not read."""

    def __init__(self, data_dir: str | Path, scratch: Path | None = None, *, allow_pipes: bool = False) -> None:
        super().__init__(data_dir, ("utt2dur",), scratch=scratch, allow_pipes=allow_pipes)

    def with_durations(self) -> Iterator[tuple[Utterance, float | None]]:
        """Raises DataError, UnsafeFileError: after the last one, where the lists have errors."""
        for utterance in self:
            yield utterance, self.others["utt2dur"].value if self.others else None
        self.raise_for_errors()


class _List:
    """One list: its lines by id, and its problems."""

    def __init__(self, path: Path, scratch: Path | None) -> None:
        self.path, self.name, self._scratch = path, str(path), scratch
        self._is_in_order: bool | None = None
        self.of_lines: list[Problem] = []
        self.of_repetitions: list[Problem] = []
        self.of_contents: list[Problem] = []
        self.of_order: list[Problem] = []

    def look_over(self) -> int:
        """How many lines it has."""
        self._is_in_order, num_lines = look_over(self.path)
        return num_lines

    def lines(self) -> Iterator[ListLine]:
        """In byte order of their ids."""
        refuse_special(self.path)
        blocks = usable_lines(self.path, self.of_lines)
        if self._is_in_order is None:
            self.look_over()
        if not self._is_in_order:
            blocks = sorted_lines(self._in_file(blocks), self._scratch)
        unique = unique_in_order(blocks, self.path, self.of_repetitions)
        return chain.from_iterable(block.lines() for block in unique)

    def _in_file(self, blocks: Iterator[Lines]) -> Iterator[Lines]:
        """The lines as they come."""
        return blocks

    def problems(self) -> list[Problem]:
        """In the order of the file within each kind."""
        return [
            *self.of_lines,
            *self.of_order,
            *sorted(self.of_repetitions, key=line_number),
            *sorted(self.of_contents, key=line_number),
        ]


class Recordings(_List):
    """``wav.scp``."""

    def __init__(self, path: Path, scratch: Path | None, allow_pipes: bool) -> None:
        super().__init__(path, scratch)
        self._allow_pipes = allow_pipes

    def __iter__(self) -> Iterator[Utterance]:
        return recordings_in(self.lines(), self.path, self.of_contents, allow_pipes=self._allow_pipes)

    def _in_file(self, blocks: Iterator[Lines]) -> Iterator[Lines]:
        previous = ""
        for block in blocks:
            for line in block.lines():
                if line.key < previous and not self.of_order:
                    self.of_order.append(warning_of_order(line, self.path))
                previous = line.key
            yield block


class _Segments(_List):
    def __init__(self, path: Path, scratch: Path | None, recordings: Recordings) -> None:
        super().__init__(path, scratch)
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
        more = f" and {self._count - 1} more ids" if self._count > 1 else ""
        where = f"{path}:{number}" if has_line else str(path)
        return [Problem(f"{self.what}: '{key}'{more}", where, is_error=False)]


class _Follower(_List):
    """A list that is read in step with the utterances.

    Attributes:
        value: its usable value for the utterance that was taken last, or None.
        kept: all values by id, if they are to be kept.
    """

    def __init__(self, path: Path, scratch: Path | None, keep: bool) -> None:
        super().__init__(path, scratch)
        self.value: Any = None
        self.kept: dict[str, Any] = {}
        self.num_lines = 0
        self._keep = keep
        self._lines = self.lines()
        self._unknown = _Group("no such utterance")
        self._line = next(self._lines, None)

    def take(self, key: str) -> bool:
        """Advance to the line of an utterance; False if a required line is missing."""
        while (line := self._line) is not None and line.key < key:
            self._look_at(line, is_known=False)
            self._line = next(self._lines, None)
        if line is None or line.key != key:
            self.value = None
            return self._lack(key)
        self.value = self._look_at(line, is_known=True)
        if self._keep and self.value is not None:
            self.kept[key] = self.value
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

    def _look_at(self, line: ListLine, *, is_known: bool) -> Any:
        """The value of the line, if it is usable; its problems are noted."""
        raise NotImplementedError


class _Texts(_Follower):
    def __init__(self, path: Path, scratch: Path | None, keep: bool) -> None:
        super().__init__(path, scratch, keep)
        self._empty, self._without = _Group("empty text"), _Group("no text, decoded but not scored")

    def _look_at(self, line: ListLine, *, is_known: bool) -> str:
        self.num_lines += 1
        if not line.value:
            self._empty.add(line.number, line.key)
        if not is_known:
            self._unknown.add(line.number, line.key)
            if self._keep:
                self.kept[line.key] = line.value
        return line.value

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

    def _look_at(self, line: ListLine, *, is_known: bool) -> Any:
        if (num_fields := len(line.value.split())) != 1:
            what = f"expected two fields, found {num_fields + 1}"
            self.of_contents.append(Problem(what, f"{self.name}:{line.number}"))
        elif is_known:
            return self._value_of(line)
        else:
            self._unknown.add(line.number, line.key)
        return None

    def _value_of(self, line: ListLine) -> Any:
        return sys.intern(line.value) if self._keep else line.value  # one for many utterances


class _Durations(_Fields):
    def __init__(self, path: Path, scratch: Path | None, keep: bool) -> None:
        super().__init__(path, scratch, keep)
        self._bad: list[ListLine] = []

    def _value_of(self, line: ListLine) -> float | None:
        seconds = parse_number(line.value)
        if seconds is not None and seconds >= 0:
            return seconds
        self._bad.append(line)
        return None

    def problems(self, source: Path | None = None) -> list[Problem]:
        return [
            *super().problems(source),
            *(Problem(f"'{value}' is not a duration in seconds for '{key}'", self.name)
              for _, key, value in sorted(self._bad)),
        ]  # fmt: skip


FOLLOWERS: dict[str, type[_Follower]] = {"text": _Texts, "utt2spk": _Fields, "utt2dur": _Durations}
