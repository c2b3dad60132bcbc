"""A run that resumes with other data than it was trained and judged with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tiny_corpus import scratch

from funrecipe.errors import DataError
from funrecipe.train.average_run import average_run
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


@pytest.fixture()
def data(corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(corpus, tmp_path / "data"))


def flags(data: Path, **settings: Any) -> dict[str, Any]:
    return scratch(data, data.parent / "out", **{"valid_decode": False, "max_epoch": 1, **settings})


def reverse_texts(path: Path) -> None:
    lines = [line.split() for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(f"{key} {text[::-1]}\n" for key, text in lines), "utf-8")


def reverse_audio(path: Path) -> None:
    """The same length, size and time of change."""
    wave, rate = soundfile.read(path)
    before = path.stat()
    soundfile.write(path, wave[::-1], rate, subtype="PCM_16")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_an_utterance(path: Path) -> None:
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "validation/text": (reverse_texts, "validation"),
    "train/text": (reverse_texts, "training"),
    "train/wav/utt003.wav": (reverse_audio, "training"),
    "validation/wav/utt001.wav": (reverse_audio, "validation"),
    "validation/wav.scp": (remove_an_utterance, "validation"),
}


@pytest.mark.parametrize("file", CHANGES)
def test_a_changed_set_is_refused(file: str, data: Path) -> None:
    change, which = CHANGES[file]
    train(flags(data))
    change(data / file)
    with pytest.raises(DataError, match=rf"(?s)the {which} data have changed.*--accept_changed_data true"):
        train(flags(data, max_epoch=2, max_bad_share=1))


def test_streamed_data_are_compared_too(data: Path) -> None:
    settings: dict[str, Any] = {"dataset_type": "large", "batch_bins": 3000}
    train(flags(data, **settings))
    train(flags(data, **settings, max_epoch=2))
    reverse_texts(data / "train" / "text")
    with pytest.raises(DataError, match="the training data have changed"):
        train(flags(data, **settings, max_epoch=3))


def test_data_that_only_moved_are_the_same(data: Path, tmp_path: Path) -> None:
    train(flags(data))
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    train(flags(data, max_epoch=2) | {"data_dir": str(moved)})
    assert [record["epoch"] for record in read_json_lines(tmp_path / "out" / "metrics.jsonl")] == [1, 2]


def test_settings_that_leave_other_utterances_out_are_no_change_of_the_data(data: Path) -> None:
    train(flags(data))
    train(flags(data, max_epoch=2, max_ms=1200.0, max_bad_share=1))


def test_epochs_before_and_after_an_accepted_change_are_ranked_apart(data: Path, tmp_path: Path) -> None:
    criterion: dict[str, Any] = {"best_model_criterion": [["valid", "loss", "min"]], "keep_nbest_models": 9}
    train(flags(data, max_epoch=3, **criterion))
    reverse_texts(data / "validation" / "text")
    train(flags(data, max_epoch=5, **criterion, accept_changed_data=True))
    out = tmp_path / "out"
    record = (out / "valid.loss.ave.json").read_text("utf-8")
    assert '"epochs": [\n  4,\n  5\n ]' in record or '"epochs": [\n  5,\n  4\n ]' in record
    assert "epochs are ranked from epoch 4 on" in (out / "train.log.0").read_text("utf-8")
    assert (out / "1epoch.pb").is_file()
    average_run(out, "valid,loss,min", 9)
    assert (out / "valid.loss.ave.json").read_text("utf-8") == record
