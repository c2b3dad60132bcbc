"""A run packed in both layouts is the same model; names of FunASR 1.x come back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.funasr_1x import to_0x, to_1x
from funrecipe.train.options import build_options
from funrecipe.train.output_folder import write_model_folder
from funrecipe.train.pack import pack_model

PARITY = Path(__file__).parents[1] / "data/parity"


@pytest.fixture(params=["seaco_paraformer", "sensevoice_small", "paraformer", "conformer"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The output folder of a run that has not changed the weights."""
    folder = open_model_folder(PARITY / request.param)
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


@pytest.mark.parametrize("name", ["seaco_paraformer", "sensevoice_small"])
def test_class_names_come_back_as_funasr_has_them(name: str) -> None:
    config = yaml.safe_load((PARITY / name / "config.yaml").read_text("utf-8"))
    back = to_1x(to_0x(config), is_bpe="Sentence" in config["tokenizer"])
    names = ("model", "encoder", "decoder", "seaco_decoder", "predictor", "frontend", "tokenizer", "encoder_conf")
    assert {key: back.get(key) for key in names} == {key: config.get(key) for key in names}


def test_families_without_a_class_in_funasr_are_refused() -> None:
    with pytest.raises(UsageError, match="'rnnt' have no layout 1.x"):
        to_1x({"model": "rnnt"}, is_bpe=False)
