"""A shard's files after a kill, and what a merge accepts."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.errors import IncompleteRunError, WorkerError
from funrecipe.jobs import merge_files
from funrecipe.jobs.results import NO_MEMORY, ShardWriter, is_shard_accounted_for, is_shard_complete, merge_shards
from funrecipe.jobs.shard_files import load_records

IDS = [f"utt{n}" for n in range(6)]
STAMPS = {key: f"{n}-1" for n, key in enumerate(IDS)}


def write(writer: ShardWriter, key: str, text: str = "你 好") -> None:
    writer.write(key, tokens=text.split(), text=text, score=-1.5, audio_s=2.0, decode_s=0.1)
    writer.flush()


def write_all(folder: Path, keys: list[str] = IDS, stamps: dict[str, str] = STAMPS) -> None:
    with ShardWriter(folder, stamps) as writer:
        for key in keys:
            if key not in writer.done:
                write(writer, key, f"{key[-1]} 好")


def content(folder: Path) -> dict[str, str]:
    return {name: (folder / "1best_recog" / name).read_text() for name in ("text", "token", "score")}


def test_line_formats(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, STAMPS) as writer:
        writer.write("utt0", tokens=["he@@", "llo"], text="HELLO", score=-12.3456789, audio_s=1.0, decode_s=0.02,
                     timestamp_ms=[[0, 60], [60, 120]])  # fmt: skip
        writer.write("utt1", tokens=[], text="", score=0.0, audio_s=3.0, decode_s=0.02)
        writer.fail("utt2", "/a b.wav", "no such\nfile")
        writer.write_rtf(100 / 6)
    folder = tmp_path / "1best_recog"
    assert content(tmp_path) == {
        "text": "utt0 HELLO\nutt1 \n",
        "token": "utt0 he@@ llo\nutt1 \n",
        "score": "utt0 -12.345679\nutt1 0.000000\n",
    }
    assert (folder / "timestamp").read_text() == "utt0 [[0, 60], [60, 120]]\n"
    assert (tmp_path / "failed.scp").read_text() == "utt2\t/a b.wav\tno such file\n"
    # The contract's rtf: 100 * time / audio time, the average on a last line.
    assert (folder / "rtf").read_text() == (
        "utt0 decoding, feature length: 17, forward_time: 0.0200, rtf: 2.0000\n"
        "utt1 decoding, feature length: 50, forward_time: 0.0200, rtf: 0.6667\n"
        "rtf_avf decoding, feature length total: 67, forward_time total: 0.0400, rtf avg: 1.0000\n"
    )


@settings(max_examples=60, deadline=None)
@given(cuts=st.tuples(*[st.integers(0, 400)] * 4))
def test_a_kill_at_any_byte_of_any_file_is_mended(tmp_path_factory, cuts) -> None:
    """Cut each file anywhere: what is left counts only if complete everywhere, and the rest is decoded again."""
    tmp_path = tmp_path_factory.mktemp("shard")
    write_all(tmp_path)
    whole = content(tmp_path)
    for name, cut in zip(("1best_recog/text", "1best_recog/token", "1best_recog/score", "done"), cuts, strict=True):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:cut])
    write_all(tmp_path)
    assert {name: sorted(text.splitlines()) for name, text in content(tmp_path).items()} == {
        name: sorted(text.splitlines()) for name, text in whole.items()
    }
    assert merge_shards([(tmp_path, STAMPS)], tmp_path / "out").num_utterances == 6


def test_a_shard_is_complete_only_if_every_file_says_so(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert is_shard_complete(tmp_path, STAMPS)
    assert not is_shard_complete(tmp_path, STAMPS | {"utt0": "new"})
    assert not is_shard_complete(tmp_path, STAMPS | {"utt9": ""})
    assert not is_shard_complete(tmp_path / "none", STAMPS)
    for name in ("done", "1best_recog/text", "1best_recog/score"):
        whole = (tmp_path / name).read_text()
        for spoilt in (
            whole[:-1],
            whole[whole.index("\n") + 1 :],
            whole + "other x\n" * (name != "done"),
            "\0" * 9 + "\n",
        ):
            (tmp_path / name).write_text(spoilt)
            assert is_shard_complete(tmp_path, STAMPS) == (spoilt == whole)
        (tmp_path / name).write_text(whole)


def test_a_torn_line_is_not_a_result(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = tmp_path / "1best_recog/text"
    path.write_bytes(path.read_bytes()[:-2])
    assert {record.key.decode() for record in load_records(tmp_path)} == set(IDS[:-1])
    with pytest.raises(IncompleteRunError, match="'utt5' is missing"):
        merge_shards([(tmp_path, STAMPS)], tmp_path / "out")
    assert set(ShardWriter(tmp_path, STAMPS).done) == set(IDS[:-1])


def test_changed_audio_and_failures_are_decoded_again(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, STAMPS) as writer:
        write(writer, "utt0")
        write(writer, "utt1")
        writer.fail("utt2", "a", "corrupt")
    reopened = ShardWriter(tmp_path, STAMPS | {"utt1": "9-9"})
    assert set(reopened.done) == {"utt0"}
    reopened.publish()
    assert content(tmp_path)["text"] == "utt0 你 好\n"
    assert not (tmp_path / "failed.scp").exists()


def test_merge_is_in_byte_order_whatever_the_shards(tmp_path: Path) -> None:
    ids = ["b", "B", "a-1", "a", "é", "中", "\U00020000", "Z"]
    shards = [(tmp_path / str(n), dict.fromkeys(ids[n::2], "")) for n in range(2)]
    for folder, stamps in shards:
        write_all(folder, list(stamps), stamps)
    merge_shards(shards, tmp_path / "out")
    keys = [line.split(b" ")[0] for line in (tmp_path / "out/1best_recog/text").read_bytes().splitlines()]
    assert keys == sorted(key.encode() for key in ids)


def test_what_found_no_memory_is_never_published_as_a_deletion(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "1", STAMPS) as writer:
        for key in IDS[:-1]:
            write(writer, key)
        writer.fail("utt5", "/x.wav", f"{NO_MEMORY}: too much audio in one piece")
    with pytest.raises(IncompleteRunError, match=r"(?s)utt5: out of memory.*fewer jobs"):
        merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out", max_failed=6)
    assert not (tmp_path / "out/1best_recog").exists()


def test_failures_need_permission(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "1", STAMPS) as writer:
        for key in IDS[:-1]:
            write(writer, key)
        writer.fail("utt5", "/x.wav", "corrupt")
    out = tmp_path / "out"
    with pytest.raises(IncompleteRunError, match=r"1 of 6 utterances failed.*\n.*utt5: corrupt"):
        merge_shards([(tmp_path / "1", STAMPS)], out)
    assert not (out / "1best_recog").exists()
    assert (out / "failed.scp").read_text() == "utt5\t/x.wav\tcorrupt\n"
    report = merge_shards([(tmp_path / "1", STAMPS)], out, max_failed=1)
    assert report.failed == {"utt5": "corrupt"}
    assert len((out / "1best_recog/text").read_text().splitlines()) == 5
    # The same without permission takes the earlier publication away.
    with pytest.raises(IncompleteRunError):
        merge_shards([(tmp_path / "1", STAMPS)], out)
    assert not (out / "1best_recog").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "1best_recog/token").unlink(), "1best_recog: 'utt0' is missing"),
        (lambda folder: _replace(folder / "1best_recog/text", "3 好", "3 坏"), "'utt3' is missing or damaged"),
        (lambda folder: _replace(folder / "1best_recog/score", "utt2 -1", "utt2 \0\0"), "'utt2' is missing or damaged"),
        (lambda folder: _replace(folder / "done", "\t4-1\t", "\t9-1\t"), "'utt4' is missing or damaged"),
        (lambda folder: (folder / "done").unlink(), "6 problems"),
    ],
)
def test_what_a_merge_refuses(spoil, said: str, tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    spoil(tmp_path / "1")
    with pytest.raises(IncompleteRunError, match=said):
        merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    assert not (tmp_path / "out/1best_recog").exists()


def test_an_equal_merge_leaves_what_stands_beside_it(tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    score = tmp_path / "out/1best_recog/text.cer"
    score.write_text("x")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    assert score.exists()
    stamps = STAMPS | {"utt0": "new"}
    with ShardWriter(tmp_path / "1", stamps) as writer:
        write(writer, "utt0", "another text")
    merge_shards([(tmp_path / "1", stamps)], tmp_path / "out")
    assert not score.exists()


def test_a_token_with_a_line_break_stays_in_its_line(tmp_path: Path) -> None:
    """Results with control characters could not be published, or not be scored."""
    with ShardWriter(tmp_path, STAMPS) as writer:
        writer.write("utt0", tokens=["a\nb", "\r"], text="a\nb \r", score=0.0, audio_s=1.0, decode_s=0.1)
        writer.write("utt1", tokens=["\x00", "\x1c"], text="\x00 \x1c", score=0.0, audio_s=1.0, decode_s=0.1)
    results = content(tmp_path)
    assert results["text"] == results["token"] == "utt0 a b\nutt1 \n"


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="No space left on device"), ShardWriter(tmp_path, STAMPS) as writer:
        (writer.attempt / "1best_recog/token").symlink_to("/dev/full")
        write(writer, "utt0")


def _shards_with_times(root: Path) -> list[tuple[Path, dict[str, str]]]:
    """Two shards of three utterances with timestamps, decoded where they are not complete."""
    parts = [(root / f"output.{n}", {key: STAMPS[key] for key in keys}) for n, keys in ((1, IDS[:3]), (2, IDS[3:]))]
    for folder, stamps in parts:
        if not is_shard_complete(folder, stamps):
            with ShardWriter(folder, stamps) as writer:
                for key in [key for key in stamps if key not in writer.done]:
                    writer.write(
                        key, tokens=["x"], text="x", score=-1.0, audio_s=1.0, decode_s=1.0, timestamp_ms=[[0, 10]]
                    )
    return parts


@pytest.mark.parametrize("spoil", ["a line", "the file"])
def test_a_lost_timestamp_is_decoded_again_and_never_published_without(spoil: str, tmp_path: Path) -> None:
    parts = _shards_with_times(tmp_path)
    merge_shards(parts, tmp_path)
    whole = (tmp_path / "1best_recog/timestamp").read_text()
    assert len(whole.splitlines()) == 6
    path = tmp_path / "output.1/1best_recog/timestamp"
    if spoil == "a line":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    else:
        path.unlink()
    with pytest.raises(IncompleteRunError, match="is missing or damaged"):
        merge_shards(parts, tmp_path)
    merge_shards(_shards_with_times(tmp_path), tmp_path)
    assert (tmp_path / "1best_recog/timestamp").read_text() == whole


@pytest.mark.parametrize("line", ["utt0 again\n", "other x\n", "utt9"])
def test_a_line_too_many_is_not_published(line: str, tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    whole = content(tmp_path / "out")
    _append(tmp_path / "1/1best_recog/text", line)
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path / "out")
    assert content(tmp_path / "out") == whole == content(tmp_path / "1")


def test_two_writers_of_one_shard_never_mix(tmp_path: Path) -> None:
    """As when an engine starts a job a second time while the first still runs: each has a folder of its own, the later
    one begins with what the earlier one has, and whichever ends first or last, the shard is whole."""
    first = ShardWriter(tmp_path, STAMPS)
    write(first, "utt0")
    second = ShardWriter(tmp_path, STAMPS)
    assert set(second.done) == {"utt0"}
    for key in IDS[1:]:
        write(second, key)
    for key in IDS[1:3]:
        write(first, key)
    second.publish()
    assert is_shard_complete(tmp_path, STAMPS)
    first.publish()  # it has less, and takes nothing back
    assert is_shard_complete(tmp_path, STAMPS)
    assert not list(tmp_path.glob("attempt.*"))


def test_a_merge_removes_what_killed_workers_left_in_the_shards(tmp_path: Path) -> None:
    shard = tmp_path / "output.1"
    write_all(shard)
    whole = {path for path in shard.rglob("*") if path.is_file()}
    for name in ("attempt.host-1/done", ".done.tmp-host-2", "1best_recog/.text.tmp-host-3"):
        (shard / name).parent.mkdir(exist_ok=True)
        (shard / name).write_text("utt0")
    merge_shards([(shard, STAMPS)], tmp_path)
    assert {path for path in shard.rglob("*") if path.is_file()} == whole


def test_a_shard_with_a_failure_is_accounted_for_and_not_complete(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, STAMPS) as writer:
        for key in IDS[:-1]:
            write(writer, key)
        assert not is_shard_accounted_for(tmp_path, STAMPS)
        writer.fail("utt5", "/x.wav", "corrupt")
    assert is_shard_accounted_for(tmp_path, STAMPS) and not is_shard_complete(tmp_path, STAMPS)


def test_a_merge_says_which_plan_it_is_of_and_how_many_hypotheses_are_empty(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "1", STAMPS) as writer:
        for key in IDS:
            write(writer, key, "" if key == "utt3" else "好")
    report = merge_shards([(tmp_path / "1", STAMPS)], tmp_path, digest="abc")
    assert (report.num_utterances, report.num_empty) == (6, 1)
    assert (tmp_path / "1best_recog/plan.digest").read_text() == "abc\n"
    with pytest.raises(IncompleteRunError, match="'utt0' is missing or damaged"):  # decoded from other audio
        merge_shards([(tmp_path / "1", STAMPS | {"utt0": "7-7"})], tmp_path)


def _killed_after_rename(number: int, work: Callable[[], object]) -> bool:
    """Do the work in another process, which dies after so many renames; False if it ended before."""
    child = os.fork()
    if child == 0:
        renames, replace = itertools.count(1), os.replace

        def replace_and_die(source: Path, target: Path) -> None:
            replace(source, target)
            if next(renames) == number:
                os._exit(9)

        try:
            os.replace = replace_and_die  # type: ignore[assignment]
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def test_a_merge_that_is_killed_leaves_no_results_under_the_wrong_plan(tmp_path: Path) -> None:
    """After any rename, what is published is whole and says of which plan it is."""
    write_all(tmp_path / "a")
    with ShardWriter(tmp_path / "b", STAMPS) as writer:
        for key in IDS:
            write(writer, key, "another text")
    plans = {"A\n": content(tmp_path / "a"), "B\n": content(tmp_path / "b")}
    out, found = tmp_path / "1best_recog", set()
    for number in itertools.count(1):
        merge_shards([(tmp_path / "a", STAMPS)], tmp_path, digest="A")
        is_killed = _killed_after_rename(number, lambda: merge_shards([(tmp_path / "b", STAMPS)], tmp_path, digest="B"))
        digest = (out / "plan.digest").read_text() if out.exists() else ""
        assert not out.exists() or content(tmp_path) == plans[digest]
        found.add(digest)
        if not is_killed:
            break
    assert digest == "B\n" and found == {"A\n", "", "B\n"}


def test_what_is_published_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path / "1")
    synced: set[int] = set()
    replace = os.replace

    def replace_what_is_synced(source: Path, target: Path) -> None:
        if Path(target).name == "1best_recog":
            assert {os.stat(path).st_ino for path in (source, *Path(source).iterdir())} <= synced
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", replace_what_is_synced)
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path, digest="abc")
    assert (tmp_path / "1best_recog/plan.digest").exists() and os.stat(tmp_path).st_ino in synced


def test_reports_on_other_results_go_with_them(tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path)
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "RESULTS.md").write_text("old")
    merge_shards([(tmp_path / "1", STAMPS)], tmp_path)
    assert (tmp_path / "report.html").exists()  # the same results
    (tmp_path / "1/done").unlink()
    with pytest.raises(IncompleteRunError):
        merge_shards([(tmp_path / "1", STAMPS)], tmp_path)
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "RESULTS.md").exists()


@pytest.mark.parametrize("block_bytes", [1, 30, 1000])
def test_shards_are_merged_block_by_block(block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_files, "LEAST_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(merge_files, "HELD_BYTES", 0)
    ids = [f"u{n:02}" for n in range(17)]
    parts = [ids[:1], ids[5:9], ids[1:5:2], ids[2:5:2], ids[9::2], ids[10::2]]
    shards = [(tmp_path / str(n), dict.fromkeys(part, "")) for n, part in enumerate(parts)]
    for folder, stamps in shards:
        write_all(folder, list(stamps), stamps)
    merge_shards(shards, tmp_path / "out")
    lines = (tmp_path / "out/1best_recog/text").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == ids
    assert sorted(p.name for p in (tmp_path / "out/1best_recog").iterdir()) == ["score", "text", "token"]


def test_a_batch_takes_a_block_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of batches is that of the blocks of one file, so looking at all files for each costs nothing."""
    monkeypatch.setattr(merge_files, "LEAST_BLOCK_BYTES", 100)
    monkeypatch.setattr(merge_files, "HELD_BYTES", 0)
    chooser = random.Random(1)
    lines: list[list[bytes]] = [[] for _ in range(50)]
    for n in range(5000):
        chooser.choice(lines).append(b"u%06d\n" % n)
    paths = [tmp_path / str(n) for n in range(len(lines))]
    for path, part in zip(paths, lines, strict=True):
        path.write_bytes(b"".join(part))
    batches = list(merge_files.merged_lines(paths))
    assert b"".join(line for batch in batches for line in batch) == b"".join(b"u%06d\n" % n for n in range(5000))
    assert len(batches) < 5 * max(map(len, lines)) * len(b"u000000\n") / 100


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _append(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(line)
