"""Splitting: a partition, balanced, independent of the order of the list."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from funrecipe.identity import file_stamp
from funrecipe.jobs.shards import ShardEntry, balance, read_list, write_lists

utterances = st.lists(
    st.builds(
        ShardEntry,
        id=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6),
        audio=st.just("/a.wav"),
        duration_s=st.none() | st.floats(0, 1e4),
        stamp=st.sampled_from(["", "0-1", "64000-2"]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda u: u.id,
)


@given(utterances, st.integers(1, 80), st.randoms(use_true_random=False))
def test_shards_are_a_sorted_partition_whatever_the_order(entries, num_shards, chooser) -> None:
    shards = balance(entries, num_shards)
    assert sorted(u.id for shard in shards for u in shard) == sorted(u.id for u in entries)
    assert len(shards) == min(num_shards, len(entries))
    assert all(shard for shard in shards)
    assert all([u.id for u in shard] == sorted(u.id for u in shard) for shard in shards)
    shuffled = list(entries)
    chooser.shuffle(shuffled)
    assert balance(shuffled, num_shards) == shards


@given(utterances, st.integers(1, 8))
def test_no_shard_has_much_more_than_its_share(entries, num_shards) -> None:
    loads = [sum(u.cost_s for u in shard) for shard in balance(entries, num_shards)]
    # A list scheduler ends within one item of the mean (Graham 1969).
    assert max(loads) <= sum(loads) / len(loads) + max(u.cost_s for u in entries) + 1e-6


def test_equal_utterances_are_spread_evenly() -> None:
    entries = [ShardEntry(f"u{n}", "a", duration_s=2.0) for n in range(10)]
    assert [len(shard) for shard in balance(entries, 4)] == [3, 3, 2, 2]


def test_the_size_of_a_file_stands_for_an_unknown_duration(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x" * 64_000)
    assert ShardEntry("u", "a", stamp=file_stamp(tmp_path / "a.wav")).cost_s == 2.0
    assert file_stamp(tmp_path / "none.wav") == ""
    assert file_stamp("a\0b") == ""


def test_lists_of_a_wider_split_do_not_survive(tmp_path: Path) -> None:
    first = [[ShardEntry(f"u{n}", f"/audio dir/{n}.wav")] for n in range(3)]
    write_lists(first, tmp_path / "split")
    write_lists(first[:2], tmp_path / "split")
    names = ["shard.1.jsonl", "shard.2.jsonl", "wav.1.scp", "wav.2.scp"]
    assert sorted(p.name for p in (tmp_path / "split").iterdir()) == names
    assert [list(read_list(tmp_path / f"split/shard.{n}.jsonl")) for n in (1, 2)] == first[:2]
    assert (tmp_path / "split/wav.2.scp").read_text() == "u1 /audio dir/1.wav\n"
