"""SeACo-Paraformer: any number of hotwords, chosen by each utterance for itself; times; training of its branch."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import Recognizer, load_recognizer
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.zoo import find_row
from funrecipe.models.registry import build_model
from funrecipe.train.adapt.initialize import freeze
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.objectives.seaco import hotword_labels

FOLDER = Path(__file__).parents[1] / "data/parity/seaco_paraformer"
LISTS = json.loads((FOLDER / "hotwords_and_texts.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    with np.load(FOLDER / "io.npz") as arrays:
        return [arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(3)]


def recognizer(hotwords: list[str]) -> Recognizer:
    return load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(hotword=" ".join(hotwords)))


@pytest.mark.parametrize("name", ["none", "two", "fifty", "sixty"])
def test_texts_and_times_are_those_of_funasr_decoding_each_utterance_alone(name: str, waves: list[np.ndarray]) -> None:
    found = recognizer(LISTS["hotwords"].get(name, [])).transcribe(waves)
    for i, hypothesis in enumerate(found):
        (wanted,) = LISTS["results"][f"u{i}.{name}"]
        assert (hypothesis.text, hypothesis.timestamp_ms) == (wanted["text"], wanted["timestamp"])


def test_many_hotwords_are_chosen_by_each_utterance_whatever_is_in_the_batch(waves: list[np.ndarray]) -> None:
    recognize = recognizer(LISTS["hotwords"]["sixty"] * 20)
    forward = [h.text for h in recognize.transcribe(waves)]
    backward = [h.text for h in recognize.transcribe(waves[::-1])]
    assert forward == backward[::-1] == [recognize.transcribe([wave])[0].text for wave in waves]


def test_a_word_that_cannot_be_spelled_is_named_and_left_out(
    waves: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = recognizer([*LISTS["hotwords"]["two"], "龘"]).transcribe(waves[:1])
    assert "龘" in caplog.text
    assert found[0].text == LISTS["results"]["u0.two"][0]["text"]


def test_funasrs_short_name_is_known() -> None:
    row = find_row("paraformer-zh")
    assert row is not None and row.family == "seaco_paraformer" and row.unsupported is None


def test_a_no_bias_token_outside_the_vocabulary_is_an_error() -> None:
    folder = open_model_folder(FOLDER)
    config = {**folder.config, "model_conf": {**folder.config["model_conf"], "NO_BIAS": 8377}}
    with pytest.raises(UsageError, match="NO_BIAS 8377"):
        build_model(config, len(folder.tokens))


def test_labels_mark_hotwords_wherever_they_stand() -> None:
    text = torch.tensor([[5, 6, 7, 5, 6, -1], [8, 5, 9, 9, 9, 9]])
    assert hotword_labels(text, [[5, 6], [9, 9, 9, 9], [7, 7]], 40).tolist() == [
        [5, 6, 40, 5, 6, -1],
        [40, 40, 9, 9, 9, 9],
    ]


def test_with_the_recognizer_frozen_only_the_hotword_branch_has_gradients() -> None:
    folder = open_model_folder(FOLDER)
    torch.manual_seed(0)
    model = build_model(folder.config, len(folder.tokens))
    model.model_conf |= {"train_decoder": False, "sample_rate": 1.0}
    freeze(model, ["encoder", "predictor", "decoder"])
    text = torch.tensor([[3, 4, 5, 6, 7, 8]])
    batch = Batch(["u"], torch.randn(1, 30, 560), torch.tensor([30]), text, torch.tensor([6]))
    output = compute_loss("seaco_paraformer", model, batch, torch.Generator().manual_seed(0))
    output.loss.backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"bias_encoder", "seaco_decoder", "hotword_output_layer"}
    assert "loss_att" not in output.stats
