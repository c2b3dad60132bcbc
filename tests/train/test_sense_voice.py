"""Fine-tuning SenseVoice: labels from tags and files, what is left out and said, and a folder that decodes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.rich_labels import rich_labels_of
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train

MODEL = Path(__file__).parents[1] / "data/parity/sensevoice_small"
TEXTS = json.loads((MODEL / "texts.json").read_text("utf-8"))
LANGUAGES = ("zh", "en", "yue", "ja", "ko", "zh")


def write_set(folder: Path, texts: list[str]) -> None:
    folder.mkdir(parents=True)
    with np.load(MODEL / "io.npz") as arrays:
        for i in range(6):
            soundfile.write(folder / f"u{i}.wav", arrays[f"in.wav{i}"], 16000)
    (folder / "wav.scp").write_text("".join(f"u{i} u{i}.wav\n" for i in range(6)))
    (folder / "text").write_text("".join(f"u{i} {text}\n" for i, text in enumerate(texts)), "utf-8")
    (folder / "utt2lang").write_text("".join(f"u{i} {language}\n" for i, language in enumerate(LANGUAGES)))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The six waves of the case, each with the text of the next one."""
    texts = [TEXTS[f"u{(i + 1) % 6}.auto.woitn"]["rich"].strip("😀😊😔😡👏🎼") for i in range(6)]
    for name in ("train", "validation"):
        write_set(tmp_path / "data" / name, texts)
    return tmp_path / "data"


def flags(data_dir: Path, **settings: object) -> dict[str, object]:
    return {
        "model": str(MODEL),
        "data_dir": str(data_dir),
        "output_dir": str(data_dir.parent / "out"),
        "num_workers": 0,
        "batch_bins": 2000,
        "lr": 0.003,
        "log_interval": 1,
        "max_epoch": 2,
        "passes_per_epoch": 10,
        "max_bad_share": 0.5,
        **settings,
    }


def test_labels_come_from_tags_and_files_and_the_text_itself(data_dir: Path) -> None:
    folder = open_model_folder(MODEL)
    tokens = folder.tokens
    (data_dir / "train" / "utt2emotion").write_text("u1 HAPPY\n")
    labels = rich_labels_of(folder, data_dir / "train")
    assert labels is not None

    def names(key: str, text: str) -> list[str | None]:
        ids, _ = labels(key, text)
        return [tokens[i] if i >= 0 else None for i in ids]

    assert names("u1", "the weather") == ["<|en|>", "<|HAPPY|>", None, "<|woitn|>"]
    assert names("u9", "20 yen") == [None, None, None, "<|withitn|>"]
    assert names("u0", "<|yue|><|BGM|> 我") == ["<|yue|>", None, "<|BGM|>", "<|woitn|>"]
    assert labels("u0", "<|yue|><|BGM|> 我")[1] == "我"
    assert rich_labels_of(open_model_folder(MODEL.parent / "paraformer"), data_dir / "train") is None


def test_a_label_that_the_model_does_not_know_names_its_line(data_dir: Path) -> None:
    (data_dir / "train" / "utt2lang").write_text("u0 zh\nu1 english\n")
    with pytest.raises(DataError, match="utt2lang:2: 'english' is not a label"):
        rich_labels_of(open_model_folder(MODEL), data_dir / "train")


def test_fine_tuning_learns_the_texts_and_its_folder_decodes(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = data_dir / "train" / "text"
    text.write_text(text.read_text("utf-8").replace("u5 ", "u5 龘"), "utf-8")
    with caplog.at_level(logging.INFO):
        train(flags(data_dir))
    assert "dropped 1: text that the vocabulary cannot write (u5)" in caplog.text
    assert "labels of 6 texts: language 6, emotion 0, event 0" in caplog.text
    losses = [record["loss"] for record in read_json_lines(data_dir.parent / "out" / "steps.jsonl")]
    assert losses[-1] < 0.5 * losses[0]
    values = read_json_lines(data_dir.parent / "out" / "metrics.jsonl")[-1]
    assert values["valid.cer_decode"] >= 0.0 and 0.0 <= values["valid.acc_rich"] <= 1.0
    tuned = open_model_folder(data_dir.parent / "out")
    assert tuned.family == "sense_voice" and tuned.weights.name == "valid.loss.ave.pb"
    with np.load(MODEL / "io.npz") as arrays:
        (found,) = load_recognizer(tuned).transcribe([arrays["in.wav1"].astype(np.float32) / 32768])
    assert found.rich is not None and found.rich["language"] == "en"


def test_the_vocabulary_of_a_sentence_piece_model_cannot_be_extended(data_dir: Path) -> None:
    with pytest.raises(UsageError, match="extend_vocab"):
        train(flags(data_dir, extend_vocab=True))


def test_a_label_that_nobody_states_is_not_trained() -> None:
    folder = open_model_folder(MODEL)
    torch.manual_seed(0)
    model = build_model(folder.config, len(folder.tokens)).eval()
    text, lens = torch.tensor([[40, 41]]), torch.tensor([2])

    def loss_rich(labels: list[int]) -> float:
        batch = Batch(["u"], torch.zeros(1, 9, 560), torch.tensor([9]), text, lens, labels=torch.tensor([labels]))
        return compute_loss("sense_voice", model, batch, torch.Generator()).stats["loss_rich"]

    assert loss_rich([-1, -1, -1, -1]) == 0.0
    parts = [loss_rich([12 if i == slot else -1 for i in range(4)]) for slot in (1, 2)]
    assert loss_rich([-1, 12, 12, -1]) == pytest.approx(sum(parts), rel=1e-5)
