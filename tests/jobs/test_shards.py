"""Splitting: a partition, balanced."""

from __future__ import annotations

import json
import tempfile
from array import array
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.identity import file_stamp
from funrecipe.jobs.shards import ShardEntry
from funrecipe.jobs.split import Draft, assign

utterances = st.lists(
    st.builds(
        ShardEntry,
        id=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6),
        audio=st.just("/a.wav"),
        start_s=st.none(),
        end_s=st.none() | st.floats(0, 9),
        duration_s=st.none() | st.floats(0, 1e4),
        stamp=st.sampled_from(["", "0-1", "64000-2"]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda u: u.id,
)


def split(entries: list[ShardEntry], num_shards: int) -> list[list[ShardEntry]]:
    with tempfile.TemporaryDirectory() as folder, Draft(Path(folder)) as draft:
        draft.fill(sorted(entries))
        jobs = draft.split(num_shards)
        draft.publish(Path(folder, "split"))
        lists = [Path(folder, f"split/shard.{job.number}.jsonl").read_text().split("\n")[:-1] for job in jobs]
    return [[ShardEntry.of_row(json.loads(line)) for line in lines] for lines in lists]


@settings(deadline=None)
@given(utterances, st.integers(1, 80))
def test_shards_are_a_sorted_partition(entries, num_shards) -> None:
    shards = split(entries, num_shards)
    assert sorted(u for shard in shards for u in shard) == sorted(entries)
    assert len(shards) == min(num_shards, len(entries))
    assert all(shard for shard in shards)
    assert all([u.id for u in shard] == sorted(u.id for u in shard) for shard in shards)


@given(utterances, st.integers(1, 8))
def test_no_shard_has_much_more_than_its_share(entries, num_shards) -> None:
    costs = array("d", (entry.cost_s for entry in entries))
    num_shards = min(num_shards, len(costs))
    loads = np.bincount(assign(costs, num_shards), weights=costs, minlength=num_shards)
    # A list scheduler ends within one item of the mean (Graham 1969).
    assert max(loads) <= sum(loads) / len(loads) + max(costs) + 1e-6


def test_equal_utterances_are_spread_evenly_and_the_longest_go_first() -> None:
    assert np.bincount(assign(array("d", [2.0] * 10), 4)).tolist() == [3, 3, 2, 2]
    assert assign(array("d", [1.0, 5.0, 2.0, 4.0]), 2).tolist() == [0, 0, 1, 1]


def test_the_size_of_a_file_stands_for_an_unknown_duration(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x" * 64_000)
    assert ShardEntry("u", "a", stamp=file_stamp(tmp_path / "a.wav")).cost_s == 2.0
    assert file_stamp(tmp_path / "none.wav") == ""
    assert file_stamp("a\0b") == ""


def test_lists_of_a_wider_split_do_not_survive(tmp_path: Path) -> None:
    entries = [ShardEntry(f"u{n}", f"/audio dir/{n}.wav") for n in range(3)]
    for num_shards in (3, 2):
        with Draft(tmp_path) as draft:
            draft.fill(entries)
            draft.split(num_shards)
            draft.publish(tmp_path / "split")
    assert [path.name for path in tmp_path.iterdir()] == ["split"]
    names = ["shard.1.jsonl", "shard.2.jsonl", "wav.1.scp", "wav.2.scp"]
    assert sorted(p.name for p in (tmp_path / "split").iterdir()) == names
    assert (tmp_path / "split/wav.2.scp").read_text() == "u1 /audio dir/1.wav\n"
