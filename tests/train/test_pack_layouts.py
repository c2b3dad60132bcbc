"""A run packed in both layouts is the same model; names of FunASR 1.x come back as they were."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.funasr_1x import to_0x, to_1x
from funrecipe.train.options import build_options
from funrecipe.train.output_folder import write_model_folder
from funrecipe.train.pack import pack_model
from tools.check_packed import differences

ROOT = Path(__file__).parents[2]
PARITY = ROOT / "tests/data/parity"


@pytest.fixture(params=["seaco_paraformer", "sensevoice_small", "paraformer", "conformer"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return unchanged_run(PARITY / request.param, tmp_path)


def unchanged_run(model: Path, tmp_path: Path) -> Path:
    """The output folder of a run that has not changed the weights."""
    folder = open_model_folder(model)
    options = build_options(folder.config, {}, {"model": str(folder.path)})
    write_model_folder(options, folder, tmp_path / "run")
    save_checkpoint(load_state_dict(folder.weights), tmp_path / "run" / "valid.acc.ave.pb")
    configuration = json.loads((tmp_path / "run/configuration.json").read_text())
    configuration["model"]["am_model_name"] = "valid.acc.ave.pb"
    (tmp_path / "run/configuration.json").write_text(json.dumps(configuration))
    return tmp_path / "run"


@pytest.mark.parametrize("layout", ["0.x", "1.x"])
def test_a_packed_folder_decodes_as_the_run_does(run_dir: Path, layout: str) -> None:
    target = pack_model(run_dir, "valid.acc.ave.pb", run_dir.parent / "packed", layout=layout)
    folder = open_model_folder(target)
    assert (folder.layout, folder.weights.name) == (layout, "model.pt" if layout == "1.x" else "model.pb")
    with np.load(PARITY / "sensevoice_small/io.npz") as arrays:
        wave = arrays["in.wav1"].astype(np.float32) / 32768
    ours, theirs = (load_recognizer(open_model_folder(path)).transcribe([wave])[0] for path in (run_dir, target))
    assert (ours.tokens, ours.timestamp_ms) == (theirs.tokens, theirs.timestamp_ms)


def test_safetensors_hold_the_same_weights(run_dir: Path) -> None:
    target = pack_model(run_dir, "valid.acc.ave.pb", run_dir.parent / "packed", weights="safetensors", half=True)
    folder = open_model_folder(target)
    assert folder.weights.name == "model.safetensors" and not (target / "model.pb").exists()
    wanted, read = load_state_dict(run_dir / "valid.acc.ave.pb"), load_state_dict(folder.weights)
    assert read.keys() == wanted.keys()
    assert all(torch.equal(read[name], value.half()) for name, value in wanted.items() if value.is_floating_point())
    with pytest.raises(UsageError, match="does not read safetensors"):
        pack_model(run_dir, "valid.acc.ave.pb", run_dir.parent / "x", weights="safetensors", layout="1.x")


def test_a_training_run_is_never_overwritten(tmp_path: Path) -> None:
    run_dir = unchanged_run(PARITY / "paraformer", tmp_path)
    other = unchanged_run(PARITY / "paraformer", tmp_path / "of")
    for name in ("configuration.json", "config.yaml"):
        (tmp_path / name).write_text("{}")  # a model folder that holds the run
    for target in (run_dir, other, tmp_path):
        with pytest.raises(DataError, match="the folder of a training run, or holds it"):
            pack_model(run_dir, "valid.acc.ave.pb", target, overwrite=True)
    assert (run_dir / "valid.acc.ave.pb").is_file() and (other / "valid.acc.ave.pb").is_file()
    packed = pack_model(run_dir, "valid.acc.ave.pb", tmp_path / "packed")
    assert pack_model(run_dir, "valid.acc.ave.pb", packed, overwrite=True) == packed


@pytest.mark.skipif(importlib.util.find_spec("funasr") is None, reason="FunASR is not installed")
@pytest.mark.parametrize("name", ["quickstart", "paraformer", "paraformer_ctc", "bicif_paraformer", "seaco_paraformer",
                                  "contextual_paraformer", "sensevoice_small", "conformer", "transformer"])  # fmt: skip
def test_funasr_says_the_same_with_a_packed_folder(name: str, tmp_path: Path) -> None:
    """Real speech for the embedded model, synthetic speech for the others, whose weights are random or tiny."""
    data = ROOT / "egs/quickstart/data"
    model = ROOT / "egs/quickstart/model" if name == "quickstart" else PARITY / name
    if name != "quickstart":
        data = tmp_path
        with np.load(PARITY / "sensevoice_small/io.npz") as arrays:
            for i in range(3):
                soundfile.write(data / f"u{i}.wav", arrays[f"in.wav{i}"].astype(np.int16), 16000)
        (data / "wav.scp").write_text("".join(f"u{i} u{i}.wav\n" for i in range(3)))
    run_dir = unchanged_run(model, tmp_path)
    packed = pack_model(run_dir, "valid.acc.ave.pb", tmp_path / "packed", layout="1.x")
    assert differences(packed, data, sys.executable) == {}


@pytest.mark.parametrize("name", ["seaco_paraformer", "sensevoice_small"])
def test_class_names_come_back_as_funasr_has_them(name: str) -> None:
    config = yaml.safe_load((PARITY / name / "config.yaml").read_text("utf-8"))
    back = to_1x(to_0x(config), is_bpe="Sentence" in config["tokenizer"])
    names = ("model", "encoder", "decoder", "seaco_decoder", "predictor", "frontend", "tokenizer", "encoder_conf")
    assert {key: back.get(key) for key in names} == {key: config.get(key) for key in names}


def test_families_without_a_class_in_funasr_are_refused() -> None:
    with pytest.raises(UsageError, match="'rnnt' have no layout 1.x"):
        to_1x({"model": "rnnt", "rnnt_decoder": "rnnt"}, is_bpe=False)
