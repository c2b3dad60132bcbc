"""Streaming from shards: pairing by key, order, budget, archives of features, tar shards."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from funrecipe.errors import DataError, UsageError
from funrecipe.train.data.dataset import SmallPlan, TrainItem
from funrecipe.train.data.large import Dropped, Shard, StreamedPlan, read_shard, read_shard_list, texts_of
from funrecipe.train.data.plan import check_dataset_conf
from funrecipe.train.data.rich_labels import RichLabels
from funrecipe.train.data.small import ItemLimits


def tokenize(text: str) -> tuple[int, ...]:
    return tuple(ord(c) for c in text)


def write_sound_shard(folder: Path, name: str, seconds: list[float]) -> str:
    """A line of the list; texts stand in another order than the audio."""
    keys = [f"{name}{i:02d}" for i in range(len(seconds))]
    for key, duration in zip(keys, seconds):
        soundfile.write(folder / f"{key}.wav", np.zeros(int(16000 * duration)), 16000)
    (folder / f"{name}.scp").write_text("".join(f"{key} {folder}/{key}.wav\n" for key in keys))
    (folder / f"{name}.text").write_text("".join(f"{key} {key}\n" for key in reversed(keys)))
    return f"{folder}/{name}.scp {folder}/{name}.text\n"


@pytest.fixture()
def shards(tmp_path: Path) -> list[Shard]:
    lines = [write_sound_shard(tmp_path, name, [0.3 + 0.1 * i for i in range(8)]) for name in "abc"]
    (tmp_path / "data.list").write_text("".join(lines))
    return read_shard_list(tmp_path / "data.list", "sound")


def plan(shards: list[Shard], **settings: object) -> StreamedPlan:
    settings = {"budget": 3000.0, "shuffle_size": 8, "sort_size": 12, **settings}
    return StreamedPlan(shards, tokenize, ItemLimits(), lambda item: item.duration_ms, **settings)  # type: ignore[arg-type]


def keys(batches: list[list[TrainItem]]) -> list[str]:
    return [item.key for batch in batches for item in batch]


def test_audio_and_text_are_paired_by_key(shards: list[Shard]) -> None:
    for item in plan(shards).items(1):
        assert item.text == tokenize(item.key)


def test_every_utterance_comes_once_in_an_order_of_its_epoch(shards: list[Shard]) -> None:
    stream = plan(shards)
    first, again, second = (keys(list(stream.batches(epoch))) for epoch in (1, 1, 2))
    assert sorted(first) == sorted(second) == sorted(f"{name}{i:02d}" for name in "abc" for i in range(8))
    assert first == again != second


def test_a_batch_has_utterances_of_similar_length_in_whatever_unit_it_is_measured(shards: list[Shard]) -> None:
    """24 utterances, 4 in a batch: sorted in a list, or within the sort buffer of a stream."""
    items = list(plan(shards).items(1))
    listed = SmallPlan(items, costs=[1.0] * len(items), budget=4).batches(1)
    streamed = replace(plan(shards, budget=4.0, sort_size=24), cost_of=lambda item: 1.0).batches(1)
    shortest, longest = (pick(item.duration_ms for item in items) for pick in (min, max))
    for batches in (listed, list(streamed)):
        assert [len(batch) for batch in batches] == [4] * 6 and sorted(keys(batches)) == sorted(i.key for i in items)
        for batch in batches:
            durations_ms = [item.duration_ms for item in batch]
            assert max(durations_ms) - min(durations_ms) < 0.4 * (longest - shortest)
    texts = [replace(item, kind="text", text=(1,) * (number % 7 + 1)) for number, item in enumerate(items)]
    for batch in SmallPlan(texts, costs=[1.0] * len(texts), budget=4, shuffle=False).batches(1):
        assert max(len(item.text) for item in batch) - min(len(item.text) for item in batch) < 3


def test_batches_stay_within_milliseconds_of_padded_audio(shards: list[Shard]) -> None:
    batches = list(plan(shards).batches(1))
    assert all(len(batch) * max(item.duration_ms for item in batch) <= 3000 for batch in batches)
    assert max(len(batch) for batch in batches) > 2


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_without_overlap(shards: list[Shard], world_size: int) -> None:
    parts = [keys(list(plan(shards, rank=rank, world_size=world_size).batches(1))) for rank in range(world_size)]
    assert sorted(key for part in parts for key in part) == sorted(keys(list(plan(shards).batches(1))))
    assert all(parts)


def test_what_cannot_be_paired_or_read_is_counted(tmp_path: Path) -> None:
    (line,) = [write_sound_shard(tmp_path, "a", [0.5, 0.5, 0.05])]
    scp, text = line.split()
    with open(scp, "a") as file:
        file.write(f"bad {tmp_path}/none.wav\nlone {tmp_path}/a00.wav\n")
    with open(text, "a") as file:
        file.write("bad x\nghost y\n")
    stream = plan([Shard("sound", (scp, text))])
    assert sorted(item.key for item in stream.items(1)) == ["a00", "a01"]
    assert stream.dropped.keys_of("audio without text") == ["lone"]
    reasons = ("unreadable audio: No such file or directory", "audio without text", "text without audio")
    assert stream.dropped == dict.fromkeys((*reasons, "audio not longer than 100 ms"), 1)


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
def test_archives_of_features_are_read_by_their_headers(tmp_path: Path, compression: int) -> None:
    matrices = {f"k{n}": np.random.default_rng(n).standard_normal((10 * n, 4)).astype(np.float32) for n in (2, 3, 5)}
    with kaldiio.WriteHelper(f"ark:{tmp_path}/feats.ark", compression_method=compression or None) as writer:
        for key, matrix in matrices.items():
            writer(key, matrix)
    (tmp_path / "text").write_text("k5 e\nk2 a\nk3 c\n")
    shard = Shard("kaldi_ark", (f"{tmp_path}/feats.ark", f"{tmp_path}/text"))
    items = list(read_shard(shard, 10.0, Dropped()))
    assert [(item.key, item.text, item.duration_ms) for item in items] == [
        ("k2", "a", 200),
        ("k3", "c", 300),
        ("k5", "e", 500),
    ]
    for item in items:
        assert np.allclose(kaldiio.load_mat(item.audio), matrices[item.key], atol=0.05)


def test_tar_shards_hold_audio_and_text_in_any_order(tmp_path: Path) -> None:
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8000), 16000, format="FLAC")
    members = {"x/one.txt": "一二".encode(), "x/one.flac": sound.getvalue(), "two.flac": sound.getvalue(),
               "two.txt": b"three", "lone.txt": b"-", "readme.md": b"#"}  # fmt: skip
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    dropped = Dropped()
    items = list(read_shard(Shard("tar", (f"{tmp_path}/s.tar",)), 10.0, dropped))
    assert [(item.key, item.text, item.duration_ms) for item in items] == [("one", "一二", 500), ("two", "three", 500)]
    assert dropped == {"text without audio": 1}
    assert [item.tags for item in items] == ["", ""]
    path, offset, size = items[0].audio.rsplit(":", 2)
    with open(path, "rb") as file:
        file.seek(int(offset))
        assert file.read(int(size)) == sound.getvalue()


def test_labels_in_a_tar_shard_are_those_of_the_text_beside_them(tmp_path: Path) -> None:
    """Before, between and after audio and text; a label that does not exist leaves the utterance out."""
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8000), 16000, format="FLAC")
    members = {"a.lang": b"zh", "a.txt": b"a", "a.emotion": b"<|HAPPY|>", "a.flac": sound.getvalue(), "a.event": b"BGM",
               "b.flac": sound.getvalue(), "b.lang": b"xx", "b.txt": b"b", "c.lang": b"en"}  # fmt: skip
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    dropped, shard = Dropped(), Shard("tar", (f"{tmp_path}/s.tar",))
    assert [(i.key, i.text, i.tags) for i in read_shard(shard, 10.0, dropped)] == [("a", "a", "<|zh|><|HAPPY|><|BGM|>")]
    assert dropped == {"'xx' is not a label": 1}
    tokens = ["<|zh|>", "<|HAPPY|>", "<|BGM|>", "<|woitn|>"]
    (item,) = plan([shard], label=RichLabels(tokens, [{}, {}, {}, {}])).items(0)
    assert (item.labels, item.text) == ((0, 1, 2, 3), tokenize("a"))


@pytest.mark.parametrize(
    ("line", "kind", "error", "said"),
    [("a.scp\n", "sound", DataError, "1 files"), ("", "sound", DataError, "empty"),
     ("no.scp no.text\n", "sound", DataError, "no such file"), ("x", "mp3", UsageError, "kaldi_ark")],
)  # fmt: skip
def test_bad_lists_are_refused(tmp_path: Path, line: str, kind: str, error: type[Exception], said: str) -> None:
    (tmp_path / "data.list").write_text(line)
    with pytest.raises(error, match=said):
        read_shard_list(tmp_path / "data.list", kind)


def write_tar(path: Path, members: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


DAMAGE = {
    "cut off in a member": lambda tar: tar[: 512 + 512 + 100],
    "cut off between members": lambda tar: tar[: 512 + 512],
    "cut off in a header": lambda tar: tar[: 512 + 512 + 300],
    "a header overwritten": lambda tar: tar[:1024] + b"x" * 512 + tar[1536:],
    "another archive behind it": lambda tar: tar + tar,
    "compressed": gzip.compress,
    "something else": lambda tar: b"no archive at all" * 100,
    "a text in another encoding": lambda tar: tar.replace("一".encode(), b"\xb0\xa1 "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_part_of_a_damaged_tar_shard_is_lost_without_a_word(damage: str, tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", {"a.txt": "一".encode(), "b.txt": b"b", "c.txt": b"c"})
    shard = Shard("tar", (f"{tmp_path}/s.tar",))
    assert list(texts_of([shard])) == ["一", "b", "c"]
    (tmp_path / "s.tar").write_bytes(DAMAGE[damage](whole))
    for reads in (lambda: texts_of([shard]), lambda: read_shard(shard, 10.0, Dropped())):
        with pytest.raises(DataError, match="not a whole tar archive|not UTF-8"):
            list(reads())


def test_an_archive_of_features_that_is_damaged_is_named(tmp_path: Path) -> None:
    with kaldiio.WriteHelper(f"ark:{tmp_path}/feats.ark") as writer:
        writer("k1", np.ones((20, 4), np.float32))
        writer("k2", np.ones((20, 4), np.float32))
    (tmp_path / "text").write_text("k1 a\nk2 b\n")
    shard = Shard("kaldi_ark", (f"{tmp_path}/feats.ark", f"{tmp_path}/text"))
    whole = (tmp_path / "feats.ark").read_bytes()
    columns = whole.index(b"\4", 10) + 1
    for damaged in (whole[:-7], whole[: len(whole) // 2 + 10], whole + b"\xff\xff ",
                    whole[:columns] + b"\xff\xff\xff\xff" + whole[columns + 4 :]):  # fmt: skip
        (tmp_path / "feats.ark").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            list(read_shard(shard, 10.0, Dropped()))


def test_what_a_pass_leaves_out_is_said_and_too_much_of_it_ends_the_run(
    shards: list[Shard], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a00", "b01", "c02"):
        (tmp_path / f"{name}.wav").unlink()
    assert len(keys(list(plan(shards, max_bad_share=0.125).batches(1)))) == 21
    assert "3 utterances of this pass were left out: unreadable audio: No such file or directory" in caplog.text
    with pytest.raises(DataError, match="12.5% of the utterances of a pass cannot be used"):
        list(plan(shards, max_bad_share=0.1).batches(1))
    # of few shards every process reads all, but has its part of the utterances only
    few = [list(plan(shards, rank=rank, world_size=8, max_bad_share=0.125).batches(1)) for rank in range(8)]
    assert sum(len(keys(batches)) for batches in few) == 21
    with pytest.raises(DataError, match="12.5%"):
        list(plan(shards, rank=3, world_size=8, max_bad_share=0.12).batches(1))


def test_a_shard_that_is_gone_is_named(shards: list[Shard], tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    for kind in ("tar", "kaldi_ark"):
        (tmp_path / "some_text").write_text("a 好\n", encoding="utf-8")
        with pytest.raises(DataError, match="cannot read the shard: No such file"):
            list(read_shard(Shard(kind, (gone, f"{tmp_path}/some_text")), 10.0, Dropped()))


def test_a_list_of_shards_may_come_from_windows_and_must_be_utf8(tmp_path: Path) -> None:
    line = write_sound_shard(tmp_path, "a", [0.5])
    (tmp_path / "data.list").write_bytes(b"\xef\xbb\xbf" + line.replace("\n", "\r\n").encode() + b"\r\n")
    assert [shard.files for shard in read_shard_list(tmp_path / "data.list", "sound")] == [tuple(line.split())]
    (tmp_path / "data.list").write_bytes(line.encode() + b"\xb0\xa1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_shard_list(tmp_path / "data.list", "sound")


@pytest.mark.parametrize(
    "conf", [{"shuffle_conf": 5}, {"shuffle_conf": {"sort_size": "x"}}, {"shuffle_conf": {"shuffle_size": -1}}]
)
def test_sizes_of_buffers_are_numbers(conf: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="shuffle_conf is"):
        check_dataset_conf(conf)


def test_an_scp_in_place_of_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "feats.scp").write_text("k1 feats.ark:3\n")
    (tmp_path / "text").write_text("k1 a\n")
    with pytest.raises(DataError, match="not a binary Kaldi matrix"):
        list(read_shard(Shard("kaldi_ark", (f"{tmp_path}/feats.scp", f"{tmp_path}/text")), 10.0, Dropped()))


AUDIO = Path(__file__).resolve().parents[1] / "data/audio"


def test_audio_of_every_kind_has_its_own_length(tmp_path: Path) -> None:
    """mp3, whose header has no exact length, an archive of wavs with other headers, and what cannot be read."""
    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(8000, np.int16), 16000, format="WAV")
    data = wav.getvalue()
    with_list = data[:36] + b"LIST\x04\0\0\0INFO" + data[36:]
    unknown = bytearray(data)
    unknown[40:44] = b"\xff" * 4
    content = b"".join(b"k " + entry for entry in (with_list, bytes(unknown), bytes(unknown)))
    (tmp_path / "a.ark").write_bytes(content)
    starts = (2, 2 + len(with_list) + 2, 2 + len(with_list) + 2 + len(data) + 2)
    (tmp_path / "a.raw").write_bytes(bytes(16000))
    places = {f"ark{i}": f"{tmp_path}/a.ark:{start}" for i, start in enumerate(starts)}
    places |= {name: f"{AUDIO}/{name}" for name in ("info.mp3", "piped.flac", "s.m4a")} | {"raw": f"{tmp_path}/a.raw"}
    (tmp_path / "wav.scp").write_text("".join(f"{key} {place}\n" for key, place in places.items()))
    (tmp_path / "text").write_text("".join(f"{key} ab\n" for key in places))
    stream = plan([Shard("sound", (f"{tmp_path}/wav.scp", f"{tmp_path}/text"))], sample_rate_hz=8000)
    lengths = {item.key: item.duration_ms for item in stream.items(1)}
    assert lengths == {"ark0": 500, "ark2": 500, "info.mp3": 1000, "piped.flac": 1000, "raw": 1000}
    named = {reason: stream.dropped.keys_of(reason) for reason in stream.dropped}
    assert sorted(named.values()) == [["ark1"], ["s.m4a"]] and all("unreadable audio: " in reason for reason in named)
