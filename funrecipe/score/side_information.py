"""What is known about the utterances apart from their texts: speakers, sets, durations, hotwords."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from funrecipe.data.in_order import Columns, RowsAhead
from funrecipe.data.texts import duration_blocks, text_blocks

Value = TypeVar("Value", str, float)


@dataclass(frozen=True)
class SideInformation:
    """Mappings are by utterance id, and may lack ids; None: there is no such list."""

    speaker_of: Mapping[str, str] | None = None
    set_of: Mapping[str, str] | None = None
    durations_s: Mapping[str, float] | None = None
    hotwords: Sequence[str] = ()


class _Lookup(Generic[Value]):
    """A list in order of ids, asked for one run of ids after the other, each of which comes after those before."""

    def __init__(self, blocks: Iterable[Columns[Value]] = ()) -> None:
        self._rows: RowsAhead[Value] = RowsAhead(blocks)
        self._is_listed = self._rows.hold(1)  # a list that cannot be read is an error before anything is scored

    def of(self, ids: Sequence[str]) -> dict[str, Value] | None:
        """Reads no further than these ids: errors of the list come after those of the texts."""
        if not self._is_listed:
            return None
        wanted, found = set(ids), dict[str, Value]()
        while ids and (rows := self._rows.up_to(ids[-1])):
            found |= rows if rows.keys() <= wanted else {i: value for i, value in rows.items() if i in wanted}
            if ids[-1] in rows:
                break
        return found

    def finish(self) -> None:
        """Read to the end, where errors of the list are raised."""
        while last := self._rows.last:
            self._rows.up_to(last)


class SideStream:
    """Files given by name, else those found in ``data_dir``; without ``utt2dur``, ``durations_s()`` is used, which is
    in order of ids."""

    def __init__(
        self,
        data_dir: Path | str | None,
        *,
        utt2spk: str | None = None,
        utt2set: str | None = None,
        utt2dur: str | None = None,
        durations_s: Callable[[], Iterable[Columns[float]]] | None = None,
        hotwords: Sequence[str] = (),
    ) -> None:
        def given_or_found(given: str | None, name: str) -> Path | None:
            found = Path(data_dir, name) if data_dir else None
            return Path(given) if given else found if found and found.exists() else None

        speakers, sets = given_or_found(utt2spk, "utt2spk"), given_or_found(utt2set, "utt2set")
        durations = given_or_found(utt2dur, "utt2dur")
        self._speakers = _Lookup(text_blocks(speakers) if speakers else ())
        self._sets = _Lookup(text_blocks(sets) if sets else ())
        self._durations = _Lookup(duration_blocks(durations) if durations else durations_s() if durations_s else ())
        self.hotwords = hotwords

    def of(self, ids: Sequence[str]) -> SideInformation:
        """What is known of these utterances, which come after those asked for before, in order."""
        return SideInformation(self._speakers.of(ids), self._sets.of(ids), self._durations.of(ids), self.hotwords)

    def finish(self) -> None:
        """Raises DataError: a list has errors after the last utterance asked for, or duplicates."""
        for lookup in (self._speakers, self._sets, self._durations):
            lookup.finish()
