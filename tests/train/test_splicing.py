"""Spliced utterances: sound and text stay together, the data directory is whole, alignment follows the speech."""

from __future__ import annotations

import random
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_corpus import write_set

from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.errors import DataError, UsageError
from funrecipe.train.make_data.splicing import (
    Aligned,
    Aligner,
    ctc_spikes,
    pools_of_speakers,
    speaker_of,
    splice,
    write_spliced,
)

QUICKSTART = Path(__file__).parents[2] / "egs" / "quickstart"
RATE_HZ = 1000


def numbered(characters: str, first: int) -> Aligned:
    """A recording whose samples are the number of the character that is heard."""
    lengths = [50 + 10 * i for i in range(len(characters))]
    wave = np.concatenate([np.full(n, first + i, np.float32) for i, n in enumerate(lengths)])
    return Aligned(wave, [0, *np.cumsum(lengths).tolist()], [1.0] * (len(characters) + 1), list(characters))


def test_every_character_keeps_its_sound() -> None:
    alphabet = "天地玄黄宇宙洪荒日月"
    pool = [numbered(alphabet[:6], 1), numbered(alphabet[6:], 7)]
    for seed in range(20):
        wave, text = splice(pool, RATE_HZ, random.Random(seed))
        assert 5 <= len(text) <= 21
        heard, position = "", 0
        while position < len(wave):
            if wave[position] < 1 or wave[position] % 1:  # silence before the first piece, fades
                position += 1
                continue
            value = int(wave[position])
            run = 0
            while position < len(wave) and wave[position] == value:
                position, run = position + 1, run + 1
            if run > 20:  # a fade passes through other whole numbers for single samples
                heard += alphabet[value - 1]
        assert heard == text


def test_speakers_by_their_ids() -> None:
    assert speaker_of("BAC009S0150W0001") == speaker_of("BAC009S0150W0499") == "BAC009S0150"
    assert speaker_of("alice-12-7") == "alice-12" and speaker_of("utt000") == speaker_of("007") == ""
    one = numbered("天地玄黄", 1)
    named = [("a", one)] * 12 + [("b", one)] * 10 + [("c", one)] * 9 + [("d", one)]
    assert [len(pool) for pool in pools_of_speakers(named)] == [12, 10, 10]


def test_the_ctc_path_is_the_best_of_all() -> None:
    """Against every path that spells the tokens."""
    generator = np.random.default_rng(0)
    for tokens in ([1, 2], [1, 1], [2, 1, 1], [1]):
        for frames in (len(tokens) + 1, 6):
            logits = generator.standard_normal((frames, 3))
            log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            paths = [
                path
                for path in product(range(3), repeat=frames)
                if [label for label, _ in groupby(path) if label] == tokens
            ]
            best = max(paths, key=lambda path: sum(log_probs[t, label] for t, label in enumerate(path)))
            spans, t = [], 0
            for label, run in groupby(best):
                length = len(list(run))
                if label:
                    spans.append((t, t + length))
                t += length
            assert ctc_spikes(log_probs, tokens) == spans
    assert ctc_spikes(np.zeros((2, 3)), [1, 1]) == []  # the same token twice needs a blank between


def test_cuts_follow_the_speech() -> None:
    """With 0.3 s of the room before the speech, the cuts stand 0.3 s later."""
    data = read_data_dir(QUICKSTART / "data")
    align = Aligner(QUICKSTART / "model")
    assert data.texts is not None
    checked = 0
    for utterance in data.utterances[:8]:
        wave, _ = soundfile.read(QUICKSTART / "data" / "wav" / f"{utterance.utt_id}.flac", dtype="float32")
        aligned = align(wave, data.texts[utterance.utt_id])
        later = align(np.concatenate([wave[:1600], wave[1600:0:-1], wave[:1600], wave]), data.texts[utterance.utt_id])
        if aligned is None or later is None:
            continue
        assert len(aligned.edges) == len(aligned.characters) + 1
        moved = [b - a for a, b in zip(aligned.edges[1:-1], later.edges[1:-1])]
        assert abs(float(np.median(moved)) - 4800) < 1600  # 0.1 s
        checked += 1
    assert checked >= 4


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first eight utterances of the quick start."""
    folder, data = tmp_path_factory.mktemp("few"), QUICKSTART / "data"
    for name in ("wav.scp", "text"):
        lines = (data / name).read_text("utf-8").splitlines()[:8]
        (folder / name).write_text("".join(f"{line}\n" for line in lines).replace(" wav/", f" {data}/wav/"), "utf-8")
    return folder


def test_a_spliced_directory_is_a_data_directory(few: Path, tmp_path: Path) -> None:
    used, total = write_spliced(QUICKSTART / "model", few, tmp_path / "a", count=5, seed=3)
    assert 0 < used <= total == 8
    data = read_data_dir(tmp_path / "a")
    assert data.texts is not None and len(data.utterances) == len(data.texts) == 5
    write_spliced(QUICKSTART / "model", few, tmp_path / "b", count=5, seed=3)
    assert (tmp_path / "a" / "text").read_bytes() == (tmp_path / "b" / "text").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        write_spliced(QUICKSTART / "model", few, tmp_path / "a", count=5)


def test_segments_cut_the_recording_before_it_is_aligned(tmp_path: Path) -> None:
    data = read_data_dir(QUICKSTART / "data")
    assert data.texts is not None
    waves = [soundfile.read(u.audio, dtype="float32")[0] for u in data.utterances[:4]]
    ends = np.cumsum([0, *map(len, waves)]) / 16000
    source = tmp_path / "data"
    source.mkdir()
    soundfile.write(source / "all.flac", np.concatenate(waves), 16000)
    (source / "wav.scp").write_text(f"all {source}/all.flac\n")
    (source / "segments").write_text("".join(f"s{i} all {ends[i]:.4f} {ends[i + 1]:.4f}\n" for i in range(4)))
    (source / "text").write_text("".join(f"s{i} {data.texts[data.utterances[i].utt_id]}\n" for i in range(4)), "utf-8")
    assert write_spliced(QUICKSTART / "model", source, tmp_path / "out", count=5) == (4, 4)
    for utterance in read_data_dir(tmp_path / "out").utterances:
        assert soundfile.info(utterance.audio).duration < 12  # four such utterances; all of the recording is 16 s long


def test_recordings_without_room_for_their_text_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Too short for the tokens, for a frame, for a sample, and no audio at all: none of them ends the run."""
    data = read_data_dir(QUICKSTART / "data")
    assert data.texts is not None
    good = data.utterances[0]
    wave, text = soundfile.read(good.audio, dtype="float32")[0], data.texts[good.utt_id]
    source = tmp_path / "data"
    source.mkdir()
    for samples in (len(wave), 4000, 100, 0):
        soundfile.write(source / f"{samples}.wav", wave[:samples], 16000)
    (source / "0bad.wav").write_text("no audio")
    keys = ["0", "0bad", "100", "4000", str(len(wave))]
    (source / "wav.scp").write_text("".join(f"{key} {source}/{key}.wav\n" for key in keys))
    (source / "text").write_text("".join(f"{key} {text}\n" for key in keys), "utf-8")
    assert write_spliced(QUICKSTART / "model", source, tmp_path / "out", count=3) == (1, 5)
    assert "0bad is left out" in caplog.text


def test_a_run_that_ends_half_way_leaves_nothing(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_spliced(QUICKSTART / "model", few, tmp_path / "out", count=3)
    assert not list(tmp_path.iterdir())


def test_nothing_to_align_is_an_error(tmp_path: Path) -> None:
    write_set(tmp_path / "short", ["一二", "三"])
    with pytest.raises(DataError, match="aligned"):
        write_spliced(QUICKSTART / "model", tmp_path / "short", tmp_path / "out", count=3)
    (tmp_path / "short" / "text").unlink()
    with pytest.raises(DataError, match="no text"):
        write_spliced(QUICKSTART / "model", tmp_path / "short", tmp_path / "out", count=3)
    assert not (tmp_path / "out").exists()
