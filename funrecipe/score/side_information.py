"""What is known about the utterances apart from their texts: speakers, sets, durations, hotwords."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from funrecipe.score.read import read_durations, read_texts


@dataclass(frozen=True)
class SideInformation:
    """Mappings are by utterance id; each may lack ids, or be empty."""

    speaker_of: Mapping[str, str] = field(default_factory=dict)
    set_of: Mapping[str, str] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)
    hotwords: Sequence[str] = ()


def read_side_information(
    data_dir: Path | str | None,
    *,
    utt2spk: str | None = None,
    utt2set: str | None = None,
    utt2dur: str | None = None,
    durations_s: Callable[[], Mapping[str, float]] | None = None,
    hotwords: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> SideInformation:
    """Files given by name, else those found in ``data_dir``; without ``utt2dur``, ``durations_s()`` is used.

    Args:
        ids: of the utterances that are scored, in order, whose strings are shared.
    """

    def given_or_found(given: str | None, name: str) -> Path | None:
        found = Path(data_dir, name) if data_dir else None
        return Path(given) if given else found if found and found.exists() else None

    speakers, sets = given_or_found(utt2spk, "utt2spk"), given_or_found(utt2set, "utt2set")
    durations = given_or_found(utt2dur, "utt2dur")
    return SideInformation(
        speaker_of=read_texts(speakers, like=ids, is_label=True) if speakers else {},
        set_of=read_texts(sets, like=ids, is_label=True) if sets else {},
        durations_s=read_durations(durations, like=ids) if durations else durations_s() if durations_s else {},
        hotwords=hotwords,
    )
