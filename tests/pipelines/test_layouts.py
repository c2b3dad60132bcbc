"""The same weights in a FunASR 1.x folder give the same result as in the 0.x folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from funrecipe.model_folder.funasr_1x import DECODERS, ENCODERS, PREDICTORS
from funrecipe.pipelines import Tasks, pipeline

PARITY = Path(__file__).resolve().parents[1] / "data/parity"
CLASS_OF_MODEL = {
    "paraformer": "Paraformer",
    "bicif_paraformer": "BiCifParaformer",
    "contextual_paraformer": "ContextualParaformer",
    "paraformer_online": "ParaformerStreaming",
    "uniasr": "UniASR",
    "conformer": "Conformer",
    "transformer": "Transformer",
    "rnnt": "Transducer",
}


def class_name(table, choice):
    return next(name for name, known in table.items() if known == choice)


WRAPPERS = {"uniasr": "state_dict", "paraformer": "model"}  # how model.pt holds the tensors; else bare


@pytest.mark.parametrize("case", CLASS_OF_MODEL)
def test_a_1x_folder_decodes_like_its_0x_twin(tmp_path, case):
    config = yaml.safe_load((PARITY / case / "config.yaml").read_text(encoding="utf-8"))
    converted = {key: value for key, value in config.items() if key.endswith("_conf")}
    converted |= {"model": CLASS_OF_MODEL[case], "frontend": "WavFrontend", "tokenizer": "CharTokenizer"}
    converted["tokenizer_conf"] = {"unk_symbol": "<unk>", "split_with_space": True}
    for key, table in (("encoder", ENCODERS), ("decoder", DECODERS), ("predictor", PREDICTORS)):
        for name in (key, key + "2"):
            if name in config:
                converted[name] = class_name(table, config[name])
    if "rnnt_decoder" in config:
        converted |= {"decoder": "rnnt_decoder", "decoder_conf": converted.pop("rnnt_decoder_conf")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(converted), encoding="utf-8")
    state = torch.load(PARITY / case / "model.pb", weights_only=True)
    torch.save({WRAPPERS[case]: state} if case in WRAPPERS else state, tmp_path / "model.pt")
    for name in ("am.mvn", "tokens.json"):
        shutil.copy(PARITY / case / name, tmp_path / name)
    with np.load(PARITY / case / "io.npz") as data:
        wave = next((data[key] for key in ("in.wav0", "in.wave_s0") if key in data.files), None)
    if wave is None:
        wave = np.random.default_rng(0).integers(-3000, 3000, 30000)
    results = [
        pipeline(task=Tasks.auto_speech_recognition, model=folder, ngpu=0)(audio_in=wave.astype(np.int16))
        for folder in (PARITY / case, tmp_path)
    ]
    assert results[0] == results[1]
