"""What the pre-flight finds before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_corpus import CHARACTERS, scratch, speak

from funrecipe.errors import DataError, UnsafeFileError
from funrecipe.train.data.preflight import inspect_data
from funrecipe.train.data.small import Inspection
from funrecipe.train.distributed import Ranks
from funrecipe.train.options import build_options
from funrecipe.train.run import train
from funrecipe.train.session import starting_point


@pytest.fixture()
def data(corpus: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    root = tmp_path / "data"
    shutil.copytree(corpus, root)
    return root


def look_at(data: Path, **settings: object) -> tuple[Inspection, Inspection]:
    flags = scratch(data, data.parent / "out", max_bad_share=1, **settings)
    options = build_options({}, {}, flags)
    found = inspect_data(starting_point(options), options, Ranks())
    return found.train, found.valid


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


def add(data: Path, key: str, wave: np.ndarray, text: str, subtype: str = "PCM_16") -> None:
    soundfile.write(data / "train" / "wav" / f"{key}.wav", wave, 16000, subtype=subtype)
    for name, value in (("wav.scp", f"wav/{key}.wav"), ("text", text)):
        with open(data / "train" / name, "a", encoding="utf-8") as file:
            file.write(f"{key} {value}\n")


def reasons(found: Inspection) -> dict[str, list[str]]:
    return {
        key: [reason for reason, keys in found.dropped.items() if key in keys]
        for keys in found.dropped.values()
        for key in keys
    }


def test_clean_data_is_kept_whole_and_untouched(data: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    train_set, valid_set = look_at(data)
    assert (len(train_set.items), len(valid_set.items)) == (16, 6)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_lists_in_another_order_are_paired_by_key(data: Path) -> None:
    expected = {item.key: item.text for item in look_at(data)[0].items}
    lines = (data / "train" / "text").read_text("utf-8").splitlines(keepends=True)
    (data / "train" / "text").write_text("".join(reversed(lines)), "utf-8")
    assert {item.key: item.text for item in look_at(data)[0].items} == expected


def test_bad_items_are_dropped_with_their_reason(data: Path) -> None:
    add(data, "nan", np.array([0.1, np.nan] * 4000, dtype=np.float32), "一二", "FLOAT")
    add(data, "short", speak("一", 0)[:900], "一")
    add(data, "crowded", speak("一", 0), CHARACTERS * 5)
    add(data, "empty", speak("一", 0), "")
    add(data, "broken", speak("一", 0), "一")
    (data / "train" / "wav" / "broken.wav").write_bytes(b"RIFF0000")
    with open(data / "train" / "wav.scp", "a") as file:
        file.write("notext wav/utt000.wav\nmissing wav/nowhere.wav\n")
    with open(data / "train" / "text", "a", encoding="utf-8") as file:
        file.write("noaudio 一二\nmissing 一\n")
    found = look_at(data)[0]
    why = {key: " ".join(found_reasons) for key, found_reasons in reasons(found).items()}
    assert len(found.items) == 16
    assert "finite" in why["nan"]
    assert "100 ms" in why["short"]
    assert "more tokens than the audio can hold" in why["crowded"]
    assert "empty text" in why["empty"]
    assert "unreadable" in why["broken"] and "unreadable" in why["missing"]
    assert why["notext"] == "audio without text"
    assert why["noaudio"] == "text without audio"
    assert found.bad_share == pytest.approx(8 / 24)


def test_a_stated_duration_that_is_wrong_is_noticed(data: Path) -> None:
    (data / "train" / "utt2dur").write_text("utt000 9.5\n")
    assert reasons(look_at(data)[0]) == {"utt000": ["duration differs from utt2dur"]}


def test_too_much_bad_data_stops_the_run(data: Path) -> None:
    for name in ("utt000", "utt001"):
        (data / "train" / "wav" / f"{name}.wav").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"12\.5% of the utterances"):
        train(scratch(data, data.parent / "out"))


def test_shifted_keys_do_not_train_on_wrong_texts(data: Path) -> None:
    edit(data / "train" / "text", "utt", "other")
    with pytest.raises(DataError, match="no utterance can be used"):
        train(scratch(data, data.parent / "out", max_bad_share=1))


def test_empty_lists_are_an_error(data: Path) -> None:
    (data / "train" / "wav.scp").write_text("")
    with pytest.raises(DataError, match="no usable utterance"):
        train(scratch(data, data.parent / "out"))


def test_a_missing_validation_set_says_what_is_expected(data: Path) -> None:
    shutil.rmtree(data / "validation")
    with pytest.raises(DataError, match="'validation' or 'dev'"):
        train(scratch(data, data.parent / "out"))


def test_dev_serves_as_validation(data: Path) -> None:
    (data / "validation").rename(data / "dev")
    assert len(look_at(data)[1].items) == 6


def test_unknown_characters_become_unk_and_marks_are_dropped(data: Path) -> None:
    (data / "train" / "text").write_text(
        (data / "train" / "text").read_text("utf-8").replace("utt000 ", "utt000 龙，"), "utf-8"
    )
    item = next(item for item in look_at(data)[0].items if item.key == "utt000")
    unknown = 9  # <unk>, the last of the ten tokens
    assert item.text[0] == unknown
    assert unknown not in item.text[1:]


def test_a_changed_file_is_measured_again(data: Path) -> None:
    first = {item.key: item.duration_ms for item in look_at(data)[0].items}
    soundfile.write(data / "train" / "wav" / "utt000.wav", speak("一二三四五六", 0), 16000)
    second = {item.key: item.duration_ms for item in look_at(data)[0].items}
    assert second.pop("utt000") == pytest.approx(len(speak("一二三四五六", 0)) / 16)
    first.pop("utt000")
    assert second == first


@pytest.mark.parametrize("damage", ["{", "[]", '{"utt000": 3}', '{"utt000": ["x"]}'])
def test_damaged_measurements_are_made_again(data: Path, damage: str) -> None:
    first = look_at(data)[0].items
    cache = data.parent / "out" / "preflight" / "train.durations.json"
    assert cache.is_file()
    cache.write_text(damage)
    assert look_at(data)[0].items == first


def test_a_list_of_commands_is_refused_with_what_can_be_done(data: Path) -> None:
    edit(data / "train" / "wav.scp", "utt000 wav/utt000.wav", "utt000 cat wav/utt000.wav |")
    with pytest.raises(UnsafeFileError, match=r"(?s)would run a command.*training reads files only"):
        train(scratch(data, data.parent / "out"))


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"batch_bins": 2000}, False),
        ({"batch_bins": 10}, True),
        ({"batch_bins": 2000, "batch_unit": "ms"}, False),
        ({"batch_bins": 1000, "batch_unit": "ms"}, True),
        ({"batch_bins": 1, "batch_unit": "utterances"}, False),
    ],
)
def test_batches_of_one_utterance_are_warned_of(
    settings: dict[str, object], warned: bool, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="funrecipe"):
        look_at(data, **settings)
    assert ("most batches hold a single one" in caplog.text) == warned


def test_utterances_of_both_sets_are_warned_of(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(data / "validation")
    (data / "validation").symlink_to(data / "train")
    with caplog.at_level("WARNING", logger="funrecipe"):
        train_set, _ = look_at(data)
    assert f"{len(train_set.items)} utterances are in the training and in the validation set" in caplog.text


def test_texts_that_the_vocabulary_cannot_write_raise_a_doubt(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "validation" / "text").write_text("".join(f"utt{i:03d} мир\n" for i in range(6)), "utf-8")
    look_at(data)
    assert "validation: 18 of 18 tokens are not in the vocabulary: is this a model for the language" in caplog.text
    assert caplog.text.count("is this a model for the language") == 1  # not the training set
