"""Splitting the utterances of a plan into shards of equal work, in little memory however many there are.

The split depends on the utterances only, never on the order of ``wav.scp``, so that the same data always give the same
plan. The lists are written twice: once as the utterances come, once by shard when all costs are known.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import shutil
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from funrecipe.files import make_folder, temporary_name, writing
from funrecipe.jobs.plan import Job, digest_line, work_line
from funrecipe.jobs.shards import ShardEntry

CHUNK = 100_000  # utterances held at once
LISTS = (("wav", "scp"), ("text", "scp"), ("shard", "jsonl"))


class Draft:
    """The utterances of a plan that is being made, in a hidden folder of ``output_dir`` that goes with the block.

    Per shard there will be ``wav.N.scp``, or ``text.N.scp`` of texts without audio, as users of the original recipes
    expect, and ``shard.N.jsonl``, which its worker reads.
    """

    def __init__(self, output_dir: Path) -> None:
        self.folder = temporary_name(output_dir / "split")
        self.costs_s = array("d")
        self.has_audio = True

    @property
    def num_utterances(self) -> int:
        return len(self.costs_s)

    def fill(self, entries: Iterable[ShardEntry]) -> None:
        """Take the utterances, which come in byte order of their ids. Raises WriteError."""
        costs_s = self.costs_s
        with writing(self._draft), open(self._draft, "wb") as file:
            for entry in entries:
                costs_s.append(entry.cost_s)
                self.has_audio = bool(entry.audio)
                said = entry.audio or entry.text
                file.write(f"{entry.id} {said}\n{entry.line()}\n".encode("utf-8", "surrogateescape"))

    def split(self, num_shards: int) -> tuple[Job, ...]:
        """Write the lists of at most ``num_shards`` shards, none empty; their jobs. Raises WriteError."""
        num_shards = max(1, min(num_shards, self.num_utterances))
        kinds = LISTS[::2] if self.has_audio else LISTS[1:]
        lists = [_List(self.folder, kinds, number) for number in range(1, num_shards + 1)]
        shard_of = assign(self.costs_s, num_shards)
        with writing(self.folder), open(self._draft, "rb") as file:
            for start in range(0, self.num_utterances, CHUNK):
                chunk = slice(start, start + CHUNK)
                for shard, cost_s in zip(shard_of[chunk].tolist(), self.costs_s[chunk]):
                    lists[shard].add(file.readline(), file.readline(), cost_s)
                for one in lists:
                    one.flush()
            os.unlink(self._draft)
        return tuple(one.job() for one in lists)

    def publish(self, folder: Path) -> None:
        """Move the lists to ``folder`` and remove those of an earlier, wider split. Raises WriteError."""
        names = set(os.listdir(self.folder))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                os.replace(self.folder / name, folder / name)
            for kind, end in LISTS:
                for old in folder.glob(f"{kind}.*.{end}"):
                    if old.name not in names:
                        old.unlink()

    @property
    def _draft(self) -> Path:
        return self.folder / "draft"

    def __enter__(self) -> Draft:
        make_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class _List:
    """The lists of one shard, written bit by bit."""

    def __init__(self, folder: Path, kinds: Sequence[tuple[str, str]], number: int) -> None:
        self.number, self.num_utterances, self.cost_s = number, 0, 0.0
        self._paths = [folder / f"{kind}.{number}.{end}" for kind, end in kinds]
        self._lines: tuple[list[bytes], list[bytes]] = ([], [])
        self._digests = (hashlib.sha256(), hashlib.sha256())

    def add(self, scp_line: bytes, line: bytes, cost_s: float) -> None:
        self._lines[0].append(scp_line)
        self._lines[1].append(line)
        self.cost_s += cost_s

    def flush(self) -> None:
        rows = self._lines[1]
        if not rows:
            return
        self.num_utterances += len(rows)
        rows_as_counted = list(map(digest_line, rows))
        self._digests[0].update(b"".join(rows_as_counted))
        self._digests[1].update(b"".join(map(work_line, rows_as_counted)))
        for path, lines in zip(self._paths, self._lines):
            with open(path, "ab") as file:
                file.writelines(lines)
            lines.clear()

    def job(self) -> Job:
        digest, work_digest = (digest.hexdigest() for digest in self._digests)
        return Job(self.number, self.num_utterances, round(self.cost_s, 3), digest, work_digest)


def assign(costs_s: array[float], num_shards: int) -> np.ndarray:
    """The shard of each utterance, (N,) from 0 on; none is empty if there are at least as many utterances.

    The longest utterance goes first and each next one to the shard with the least work (longest processing time
    first, Graham 1969): no shard gets more than 4/3 of the best possible maximum.
    """
    costs = np.frombuffer(costs_s, dtype=np.float64) if costs_s else np.empty(0)
    order = np.argsort(-costs, kind="stable")
    shard_of = np.empty(len(costs), dtype=np.int32)
    loads = [(0.0, shard) for shard in range(num_shards)]
    for start in range(0, len(costs), CHUNK):
        part = order[start : start + CHUNK]
        chosen = []
        for cost_s in costs[part].tolist():
            load_s, shard = loads[0]
            heapq.heapreplace(loads, (load_s + cost_s, shard))
            chosen.append(shard)
        shard_of[part] = chosen
    return shard_of
