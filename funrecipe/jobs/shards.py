"""An utterance of a plan, as a worker needs it: its audio, how long that is, and a stamp of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from funrecipe.data.durations import duration_s
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError, count, list_problems
from funrecipe.files import special_file
from funrecipe.identity import file_stamp

# Bytes of one second of 16 kHz, 16 bit, mono audio: what a file's size stands for where no duration is known.
BYTES_PER_SECOND = 32_000
MIN_COST_S = 0.01
CHARACTERS_PER_SECOND = 5  # of a text without audio, to balance shards
# Opening the header of each file is slow where there are many; their sizes then stand for durations.
MOST_HEADERS = 100_000
MOST_STAMPS = 1 << 16  # kept


class ShardEntry(NamedTuple):
    """One utterance as a worker needs it.

    Attributes:
        id: the utterance id.
        audio: absolute path, ``ark:offset``, or a command that ends in ``|``.
        start_s, end_s: the segment of a longer recording, or None.
        duration_s: from ``segments``, ``utt2dur`` or the header of the file, or None.
        stamp: size and modification time of the audio file. A result counts only for the audio that it was made
            from, so a repaired file is decoded again; empty where there is no file.
        text: what is to be aligned with the audio or, where ``audio`` is empty, punctuated; None: nothing is known.
    """

    id: str
    audio: str
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    stamp: str = ""
    text: str | None = None

    @property
    def cost_s(self) -> float:
        """Seconds of audio, estimated from the size of the file where the duration is unknown."""
        if self.duration_s is not None:
            return max(self.duration_s, MIN_COST_S)
        size = int(self.stamp.partition("-")[0] or BYTES_PER_SECOND)
        return max(size / BYTES_PER_SECOND, MIN_COST_S)

    def line(self) -> str:
        """As JSON: what a list of a plan has per utterance; a text is before what its work does not depend on."""
        start_s, end_s, duration_s = ("null" if s is None else repr(s) for s in self[2:5])
        names = f"{encode_basestring(self.id)}, {encode_basestring(self.audio)}"
        text = "" if self.text is None else f"{encode_basestring(self.text)}, "
        return f"[{names}, {start_s}, {end_s}, {text}{duration_s}, {encode_basestring(self.stamp)}]"

    @classmethod
    def of_row(cls, row: list[Any]) -> ShardEntry:
        """The entry of a line that was read. Raises TypeError: it is not one."""
        if len(row) <= len(cls._fields) - 1:
            return cls(*row)
        utt_id, audio, start_s, end_s, text, duration_s, stamp = row
        return cls(utt_id, audio, start_s, end_s, duration_s, stamp, text)


def file_of(audio: str) -> str:
    """The file behind ``path`` or ``ark:offset``."""
    path, colon, offset = audio.rpartition(":")
    return path if colon and offset.isdecimal() else audio


def make_entries(
    utterances: Iterable[tuple[Utterance, float | None]], *, num_lines: int, audio_fs: int | None = None
) -> Iterator[ShardEntry]:
    """Stamp the audio of each utterance and estimate how long it is.

    Args:
        utterances: with their durations, where they are known (``utt2dur``).
        num_lines: approximate number of utterances.
        audio_fs: sampling rate of raw ``.pcm`` files, in Hz.
    Raises:
        DataError: an audio path is a pipe, a socket or a device, whose reading may never end. A missing file is not
            an error here; the worker reports it.
    """
    special: list[str] = []
    stamp_of = lru_cache(MOST_STAMPS)(file_stamp)  # an archive or a long recording has many utterances
    opens_headers = num_lines <= MOST_HEADERS
    for utterance, known_s in utterances:
        path = file_of(utterance.audio)
        stamp = stamp_of(path)
        if not stamp and (what := special_file(path)):
            special.append(f"{utterance.where}: '{utterance.utt_id}' is {what}, not a file: {path}")
        if known_s is None and stamp and (opens_headers or utterance.end_s is not None):
            known_s = duration_s(utterance, audio_fs=audio_fs or 16000)
        yield ShardEntry(utterance.utt_id, utterance.audio, utterance.start_s, utterance.end_s, known_s, stamp)
    if special:
        hint = "give a file, or a command that ends in | and --allow_pipes true"
        raise DataError(
            f"pipes or devices in place of {count(len(special), 'audio file')}\n{list_problems(special)}", hint=hint
        )


def with_texts(entries: Iterable[ShardEntry], texts: Mapping[str, str], where: str) -> Iterator[ShardEntry]:
    """Entries with their texts. Raises DataError after the last one: some have none."""
    missing, count = [], 0
    for entry in entries:
        count += 1
        if entry.id not in texts:
            missing.append(entry.id)
        yield entry._replace(text=texts.get(entry.id, ""))
    if missing:
        what = f"{len(missing)} of {count} utterances have no text\n{list_problems(missing)}"
        raise DataError(what, where=where, hint="add their lines, or remove the utterances from wav.scp")


def text_entries(texts: Mapping[str, str]) -> Iterator[ShardEntry]:
    """Entries of texts without audio, in byte order of their ids."""
    for key in sorted(texts):
        yield ShardEntry(key, "", duration_s=len(texts[key]) / CHARACTERS_PER_SECOND, text=texts[key])
