"""The utterances of a Kaldi data directory one by one, in byte order of their ids, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from funrecipe.data.in_order import look_over, sort_rows
from funrecipe.data.kaldi_dir import (
    Utterance,
    fix_hint,
    is_listed,
    parse_number,
    raise_for_errors_in,
    recordings_in,
    require_lists,
    segments_in,
)
from funrecipe.data.list_file import ListLine, Problem, unique_in_order, usable_lines, warning_of_order

LISTS = ("wav.scp", "segments", "utt2dur")


class UtteranceStream:
    """What ``read_data_dir`` gives as ``utterances`` and ``durations_s``, for one pass in little memory.

    Only ``wav.scp``, ``segments`` and ``utt2dur`` are read. With ``segments``, the recordings are held in memory.

    Args:
        scratch: folder on whose disk lists are sorted that are not in order.
    Attributes:
        num_lines: lines that list utterances, at least as many as there are utterances.
    Raises:
        DataError: no such folder, no ``wav.scp``, or a list that cannot be opened.
    """

    def __init__(self, data_dir: str | Path, scratch: Path | None = None, *, allow_pipes: bool = False) -> None:
        self.folder = require_lists(data_dir)
        self._scratch, self._allow_pipes = scratch, allow_pipes
        self._has_segments = is_listed(self.folder / "segments")
        self._orders: dict[str, bool] = {}
        self._orders[self._source], self.num_lines = look_over(self.folder / self._source)
        # As in read_data_dir: by list, and within a list lines first, then duplicates, then contents.
        self._problems: dict[tuple[int, int], list[Problem]] = {(n, kind): [] for n in range(3) for kind in range(4)}

    def __iter__(self) -> Iterator[tuple[Utterance, float | None]]:
        """Utterances with their duration in seconds, if ``utt2dur`` has it.

        Raises:
            DataError, UnsafeFileError: after the last one, where the lists have errors.
        """
        lines, problems = self._lines("wav.scp")
        utterances = recordings_in(lines, self.folder / "wav.scp", problems, allow_pipes=self._allow_pipes)
        if self._has_segments:
            recordings = {recording.utt_id: recording for recording in utterances}
            lines, problems = self._lines("segments")
            utterances = segments_in(lines, self.folder / "segments", recordings, problems)
        durations, bad_durations = self._durations(), self._problems[2, 3]
        line = next(durations, None)
        is_empty = True
        for utterance in utterances:
            is_empty = False
            while line is not None and line.key < utterance.utt_id:
                line = next(durations, None)
            seconds = None
            if line is not None and line.key == utterance.utt_id:
                seconds = parse_number(line.value)
                if seconds is None or seconds < 0:
                    what = f"'{line.value}' is not a duration in seconds for '{line.key}'"
                    bad_durations.append(Problem(what, str(self.folder / "utt2dur")))
            yield utterance, seconds
        for _ in durations:
            pass
        if is_empty:
            self._problems[1, 3].append(Problem("no usable utterance", str(self.folder / "wav.scp")))
        raise_for_errors_in(chain.from_iterable(self._problems.values()), self.folder, fix_hint(self.folder))

    @property
    def _source(self) -> str:
        return "segments" if self._has_segments else "wav.scp"

    def _durations(self) -> Iterator[ListLine]:
        if not is_listed(self.folder / "utt2dur"):
            return
        lines, problems = self._lines("utt2dur")
        for line in lines:
            if (num_fields := len(line.value.split())) == 1:
                yield line
            else:
                where = f"{self.folder / 'utt2dur'}:{line.number}"
                problems.append(Problem(f"expected two fields, found {num_fields + 1}", where))

    def _lines(self, name: str) -> tuple[Iterator[ListLine], list[Problem]]:
        """The lines of a list in order, and where problems of what they say belong."""
        of_lines, of_repetitions, of_contents = (self._problems[LISTS.index(name), kind] for kind in range(3))
        is_in_order = self._orders.get(name)
        lines = lines_by_id(
            self.folder / name, of_lines, of_repetitions, scratch=self._scratch, is_in_order=is_in_order
        )
        return lines, of_contents


def lines_by_id(
    path: Path,
    of_lines: list[Problem],
    of_repetitions: list[Problem],
    *,
    scratch: Path | None = None,
    is_in_order: bool | None = None,
    unsorted: list[Problem] | None = None,
) -> Iterator[ListLine]:
    """The lines that ``read_unique_lines`` finds, in byte order of their ids and in little memory.

    Args:
        of_lines, of_repetitions: get the problems of lines and of duplicates.
        scratch: folder on whose disk lists are sorted that are not in order.
        is_in_order: whether they are; None: look.
        unsorted: gets a warning where they are not.
    """
    lines: Iterator[ListLine] = usable_lines(path, of_lines)
    if not (look_over(path)[0] if is_in_order is None else is_in_order):
        if unsorted is not None:
            lines = _note_order(lines, path, unsorted)
        rows = sort_rows(((key, number, value) for number, key, value in lines), scratch)
        lines = (ListLine(number, key, value) for key, number, value in rows)
    return unique_in_order(lines, path, of_repetitions)


def _note_order(lines: Iterator[ListLine], path: Path, unsorted: list[Problem]) -> Iterator[ListLine]:
    previous = ""
    for line in lines:
        if line.key < previous and not unsorted:
            unsorted.append(warning_of_order(line, path))
        previous = line.key
        yield line
