"""Splitting a list of utterances into shards of equal work.

The split depends on the utterances only, never on the order of ``wav.scp``, so that the same data always give the
same plan.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from funrecipe.data.durations import duration_s
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError, list_problems
from funrecipe.files import atomic_write, special_file
from funrecipe.identity import file_stamp

# Bytes of one second of 16 kHz, 16 bit, mono audio: what a file's size stands for where no duration is known.
BYTES_PER_SECOND = 32_000
MIN_COST_S = 0.01
# Opening the header of each file is slow where there are many; their sizes then stand for durations.
MOST_HEADERS = 100_000


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One utterance as a worker needs it.

    Attributes:
        id: the utterance id.
        audio: absolute path, ``ark:offset``, or a command that ends in ``|``.
        start_s, end_s: the segment of a longer recording, or None.
        duration_s: from ``segments``, ``utt2dur`` or the header of the file, or None.
        stamp: size and modification time of the audio file. A result counts only for the audio that it was made
            from, so a repaired file is decoded again; empty where there is no file.
    """

    id: str
    audio: str
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    stamp: str = ""

    @property
    def cost_s(self) -> float:
        """Seconds of audio, estimated from the size of the file where the duration is unknown."""
        if self.duration_s is not None:
            return max(self.duration_s, MIN_COST_S)
        size = int(self.stamp.partition("-")[0] or BYTES_PER_SECOND)
        return max(size / BYTES_PER_SECOND, MIN_COST_S)

    def row(self) -> tuple[str, str, float | None, float | None, float | None, str]:
        return self.id, self.audio, self.start_s, self.end_s, self.duration_s, self.stamp


def file_of(audio: str) -> str:
    """The file behind ``path`` or ``ark:offset``."""
    path, colon, offset = audio.rpartition(":")
    return path if colon and offset.isdecimal() else audio


def make_entries(
    utterances: Sequence[Utterance], durations_s: Mapping[str, float], *, audio_fs: int | None = None
) -> Iterator[ShardEntry]:
    """Stamp the audio of each utterance and estimate how long it is.

    Args:
        durations_s: known durations by utterance id (``utt2dur``).
        audio_fs: sampling rate of raw ``.pcm`` files, in Hz.
    Raises:
        DataError: an audio path is a pipe, a socket or a device, whose reading may never end. A missing file is no
            error here, the worker names it.
    """
    special: list[str] = []
    stamps: dict[str, str] = {}  # by file: an archive or a long recording has many utterances
    opens_headers = len(utterances) <= MOST_HEADERS
    for utterance in utterances:
        path = file_of(utterance.audio)
        if path not in stamps:
            stamps[path] = file_stamp(path)
        stamp, known_s = stamps[path], durations_s.get(utterance.utt_id)
        if not stamp and (what := special_file(path)):
            special.append(f"{utterance.where}: '{utterance.utt_id}' is {what}, not a file: {path}")
        if known_s is None and stamp and (opens_headers or utterance.end_s is not None):
            known_s = duration_s(utterance, audio_fs=audio_fs or 16000)
        yield ShardEntry(utterance.utt_id, utterance.audio, utterance.start_s, utterance.end_s, known_s, stamp)
    if special:
        hint = "give a file, or a command that ends in | and --allow_pipes true"
        raise DataError(f"{len(special)} audio paths are pipes or devices\n{list_problems(special)}", hint=hint)


def balance(utterances: Iterable[ShardEntry], num_shards: int) -> list[list[ShardEntry]]:
    """At most ``num_shards`` shards of about equal cost, none empty; inside a shard ids are in byte order.

    The longest utterance goes first and each next one to the shard with the least work (longest processing time
    first, Graham 1969): no shard gets more than 4/3 of the best possible maximum.
    """
    ordered = sorted(utterances, key=lambda u: (-u.cost_s, u.id))
    num_shards = max(1, min(num_shards, len(ordered)))
    shards: list[list[ShardEntry]] = [[] for _ in range(num_shards)]
    loads = [(0.0, index) for index in range(num_shards)]
    for utterance in ordered:
        load, index = heapq.heappop(loads)
        shards[index].append(utterance)
        heapq.heappush(loads, (load + utterance.cost_s, index))
    for shard in shards:
        shard.sort(key=lambda u: u.id)
    return shards


def write_lists(shards: Sequence[Sequence[ShardEntry]], folder: Path) -> None:
    """Per shard ``wav.N.scp``, as users of the original recipe expect, and ``shard.N.jsonl``, which its worker reads.

    Lists of an earlier, wider split are removed.
    """
    keep = {
        f"{kind}.{n}.{end}" for n in range(1, len(shards) + 1) for kind, end in (("wav", "scp"), ("shard", "jsonl"))
    }
    for pattern in ("wav.*.scp", "shard.*.jsonl"):
        for old in folder.glob(pattern):
            if old.name not in keep:
                old.unlink()
    for number, shard in enumerate(shards, start=1):
        with atomic_write(folder / f"wav.{number}.scp") as scp:
            scp.writelines(f"{u.id} {u.audio}\n" for u in shard)
        with atomic_write(folder / f"shard.{number}.jsonl") as rows:
            rows.writelines(json.dumps(u.row(), ensure_ascii=False) + "\n" for u in shard)


def read_list(path: Path) -> Iterator[ShardEntry]:
    """The utterances of one shard, as ``write_lists`` wrote them. Raises DataError: the list is missing or damaged."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for line in lines:
                yield ShardEntry(*json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"not a list of a plan: {error}", where=str(path), hint="run stage 1 again") from None
