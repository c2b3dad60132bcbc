"""Splitting a list of utterances into shards of equal work.

The split depends on the utterances only, never on the order of ``wav.scp``, so that the same data always give the
same plan.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Bytes of one second of 16 kHz, 16 bit, mono audio: what a file's size stands for where no duration is known.
BYTES_PER_SECOND = 32_000
MIN_COST_S = 0.01


@dataclass(frozen=True)
class ShardEntry:
    """One utterance as a worker needs it.

    Attributes:
        id: the utterance id.
        audio: absolute path, ``ark:offset``, or a command that ends in ``|``.
        start_s, end_s: the segment of a longer recording, or None.
        duration_s: from ``segments`` or ``utt2dur``, or None.
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

    def to_json(self) -> dict[str, Any]:
        """Without the fields that say nothing, which keeps a plan of a million utterances small."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def file_stamp(path: str | os.PathLike[str]) -> str:
    """``size-mtime`` of a regular file, or an empty string where there is none (the worker will say so)."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


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
    """``wav.N.scp`` per shard, as users of the original recipe expect; lists of an earlier, wider split are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("wav.*.scp"):
        old.unlink()
    for number, shard in enumerate(shards, start=1):
        lines = "".join(f"{u.id} {u.audio}\n" for u in shard)
        (folder / f"wav.{number}.scp").write_text(lines, encoding="utf-8")
