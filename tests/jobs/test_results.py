"""A shard's files after a kill, and what a merge accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.errors import IncompleteRunError, WorkerError
from funrecipe.jobs.results import ShardWriter, is_shard_complete, merge_shards, read_lines, write_text

IDS = [f"utt{n}" for n in range(6)]
STAMPS = {key: f"{n}-1" for n, key in enumerate(IDS)}


def write(writer: ShardWriter, key: str, text: str = "你 好") -> None:
    writer.write(key, tokens=text.split(), text=text, score=-1.5, audio_s=2.0, decode_s=0.1)


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
    assert merge_shards([(tmp_path, IDS)], tmp_path / "out").num_utterances == 6


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
    assert set(dict(read_lines(path))) == set(IDS[:-1])
    with pytest.raises(IncompleteRunError, match="'utt5' is missing"):
        merge_shards([(tmp_path, IDS)], tmp_path / "out")
    assert set(ShardWriter(tmp_path, STAMPS).done) == set(IDS[:-1])


def test_changed_audio_and_failures_are_decoded_again(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, STAMPS) as writer:
        write(writer, "utt0")
        write(writer, "utt1")
        writer.fail("utt2", "a", "corrupt")
    reopened = ShardWriter(tmp_path, STAMPS | {"utt1": "9-9"})
    assert set(reopened.done) == {"utt0"}
    assert content(tmp_path)["text"] == "utt0 你 好\n"
    assert not (tmp_path / "failed.scp").exists()


def test_merge_is_in_byte_order_whatever_the_shards(tmp_path: Path) -> None:
    ids = ["b", "B", "a-1", "a", "é", "中", "\U00020000", "Z"]
    stamps = dict.fromkeys(ids, "")
    write_all(tmp_path / "1", ids[::2], stamps)
    write_all(tmp_path / "2", ids[1::2], stamps)
    merge_shards([(tmp_path / "1", ids[::2]), (tmp_path / "2", ids[1::2])], tmp_path / "out")
    keys = [line.split(b" ")[0] for line in (tmp_path / "out/1best_recog/text").read_bytes().splitlines()]
    assert keys == sorted(key.encode() for key in ids)


def test_failures_need_permission(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "1", STAMPS) as writer:
        for key in IDS[:-1]:
            write(writer, key)
        writer.fail("utt5", "/x.wav", "corrupt")
    out = tmp_path / "out"
    with pytest.raises(IncompleteRunError, match=r"1 of 6 utterances failed.*\n.*utt5: corrupt"):
        merge_shards([(tmp_path / "1", IDS)], out)
    assert not (out / "1best_recog").exists()
    assert (out / "failed.scp").read_text() == "utt5\t/x.wav\tcorrupt\n"
    report = merge_shards([(tmp_path / "1", IDS)], out, max_failed=1)
    assert report.failed == {"utt5": "corrupt"}
    assert len((out / "1best_recog/text").read_text().splitlines()) == 5
    # The same without permission takes the earlier publication away.
    with pytest.raises(IncompleteRunError):
        merge_shards([(tmp_path / "1", IDS)], out)
    assert not (out / "1best_recog").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "1best_recog/token").unlink(), "token: 'utt0' is missing"),
        (lambda folder: _append(folder / "1best_recog/text", "utt0 again\n"), "'utt0' stands there twice"),
        (lambda folder: _append(folder / "1best_recog/score", "other -1.0\n"), "'other' is not in this shard"),
    ],
)
def test_what_a_merge_refuses(spoil, said: str, tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", IDS)], tmp_path / "out")
    spoil(tmp_path / "1")
    with pytest.raises(IncompleteRunError, match=said):
        merge_shards([(tmp_path / "1", IDS)], tmp_path / "out")
    assert not (tmp_path / "out/1best_recog").exists()


def test_an_equal_merge_leaves_what_stands_beside_it(tmp_path: Path) -> None:
    write_all(tmp_path / "1")
    merge_shards([(tmp_path / "1", IDS)], tmp_path / "out")
    score = tmp_path / "out/1best_recog/text.cer"
    score.write_text("x")
    merge_shards([(tmp_path / "1", IDS)], tmp_path / "out")
    assert score.exists()
    with ShardWriter(tmp_path / "1", STAMPS | {"utt0": "new"}) as writer:
        write(writer, "utt0", "another text")
    merge_shards([(tmp_path / "1", IDS)], tmp_path / "out")
    assert not score.exists()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="No space left on device"), ShardWriter(tmp_path, STAMPS) as writer:
        (tmp_path / "1best_recog/token").symlink_to("/dev/full")
        write(writer, "utt0")


def test_write_text_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(WorkerError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "new")
    assert (tmp_path / "file").read_text() == "old"


def _append(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(line)
