"""Model folders of both layouts, from file sets as the hub serves them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from funrecipe.errors import DataError, UnsafeFileError
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.model_folder.folder import SUBSAMPLING
from funrecipe.models.input_layers import CONV_LAYERS

CONFIG_0X = {"model": "paraformer", "encoder": "sanm", "decoder": "paraformer_decoder_sanm", "cmvn_file": "/nfs/am.mvn"}
CONFIGURATION_0X = {
    "model": {
        "am_model_name": "m.pb",
        "model_config": {
            "mode": "paraformer",
            "am_model_config": "c.yaml",
            "mvn_file": "x.mvn",
            "asr_model_config": "decoding.yaml",
            "model": "damo/speech_x",
        },
    }
}
# The key names of FunASR 1.x configurations (SeACo-Paraformer, UniASR, Transducer as published).
CONFIG_1X = {
    "model": "BiCifParaformer",
    "model_conf": {"predictor_bias": 1},
    "encoder": "SANMEncoder",
    "encoder_conf": {"output_size": 8, "sanm_shfit": 0},
    "decoder": "ParaformerSANMDecoder",
    "predictor": "CifPredictorV3",
    "frontend": "WavFrontend",
    "frontend_conf": {"fs": 8000},
    "specaug": "SpecAugLFR",
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    "train_conf": {"accum_grad": 2},
    "dataset_conf": {"batch_size": 7},
}


def make(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            content = json.dumps(content)
        elif name.endswith(".yaml") and not isinstance(content, str):
            content = yaml.safe_dump(content)
        (folder / name).write_text(content)
    return folder


def test_layout_0x_takes_the_names_of_configuration_json(tmp_path):
    files = {
        "configuration.json": CONFIGURATION_0X,
        "c.yaml": {**CONFIG_0X, "token_list": ["<blank>", "a", "b"]},
        "m.pb": "",
        "x.mvn": "",
        "am.mvn": "",
        "decoding.yaml": {"beam_size": 5},
        "seg_dict": "",
    }
    folder = open_model_folder(make(tmp_path, files))
    assert (folder.layout, folder.mode, folder.family) == ("0.x", "paraformer", "paraformer")
    assert folder.tokens == ("<blank>", "a", "b") and folder.sample_rate_hz == 16000
    assert (folder.weights.name, folder.cmvn.name, folder.seg_dict.name) == ("m.pb", "x.mvn", "seg_dict")
    assert folder.decoding == {"beam_size": 5}


def test_a_folder_without_configuration_json(tmp_path):
    files = {"config.yaml": CONFIG_0X, "model.pb": "", "tokens.txt": "<blank>\n<s>\nx\n", "lm.yaml": {}, "lm.pb": ""}
    folder = open_model_folder(make(tmp_path, files))
    assert folder.tokens == ("<blank>", "<s>", "x") and folder.weights.name == "model.pb" and folder.cmvn is None
    assert folder.lm_config.name == "lm.yaml" and folder.lm_weights.name == "lm.pb"


def test_layout_1x_is_translated_to_0x_names(tmp_path):
    files = {"config.yaml": CONFIG_1X, "model.pt": "", "tokens.json": ["<blank>", "a"], "am.mvn": "", "seg_dict": ""}
    folder = open_model_folder(make(tmp_path, files))
    assert (folder.layout, folder.family, folder.sample_rate_hz) == ("1.x", "bicif_paraformer", 8000)
    assert folder.weights.name == "model.pt" and folder.tokens == ("<blank>", "a") and folder.cmvn.name == "am.mvn"
    expected = {
        "model": "bicif_paraformer",
        "encoder": "sanm",
        "decoder": "paraformer_decoder_sanm",
        "predictor": "cif_predictor_v3",
        "frontend": "wav_frontend",
        "specaug": "specaug_lfr",
        "split_with_space": True,
        "accum_grad": 2,
        "encoder_conf": {"output_size": 8, "sanm_shfit": 0},
    }
    assert {key: folder.config[key] for key in expected} == expected
    assert not {"tokenizer", "dataset_conf", "train_conf"} & folder.config.keys()


def test_layout_1x_with_file_path_metas(tmp_path):
    metas = {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"token_list": "t.json", "seg_dict_file": "seg"},
        "frontend_conf": {"cmvn_file": "am.mvn"},
    }
    files = {
        "configuration.json": {"model": {"type": "funasr"}, "file_path_metas": metas, "model_revision": "v2.0.4"},
        "config.yaml": CONFIG_1X,
        "model.pt": "",
        "t.json": ["<blank>", "z"],
        "am.mvn": "",
        "seg": "",
    }
    folder = open_model_folder(make(tmp_path, files))
    assert folder.tokens == ("<blank>", "z") and folder.seg_dict.name == "seg" and folder.layout == "1.x"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Paraformer", "paraformer"),
        ("ParaformerStreaming", "paraformer_online"),
        ("ContextualParaformer", "contextual_paraformer"),
        ("UniASR", "uniasr"),
        ("Conformer", "asr"),
        ("Transformer", "asr"),
        ("Transducer", "rnnt"),
    ],
)
def test_families_of_1x(tmp_path, model, family):
    config = {**CONFIG_1X, "model": model, "model_conf": {}}
    folder = make(tmp_path, {"config.yaml": config, "model.pt": "", "tokens.txt": "a\n"})
    assert open_model_folder(folder).family == family


def test_the_decoder_of_a_1x_transducer_is_its_prediction_network(tmp_path):
    config = {"model": "Transducer", "encoder": "ChunkConformerEncoder", "decoder": "rnnt_decoder"}
    config["decoder_conf"] = {"embed_size": 3}
    folder = open_model_folder(make(tmp_path, {"config.yaml": config, "model.pt": "", "tokens.txt": "a\n"}))
    assert folder.config["rnnt_decoder"] == "rnnt" and folder.config["rnnt_decoder_conf"] == {"embed_size": 3}
    assert folder.config["encoder"] == "chunk_conformer" and "decoder" not in folder.config


def test_tokens_are_read_as_written_not_as_yaml_types(tmp_path):
    # The published paraformer-large-online configuration holds these lines unquoted.
    written = "model: paraformer\ntoken_list:\n- <blank>\n- no\n- 6\n- on\n- - \n- 'yes'\n- ~\n- 0x1F\n- 1_0\n"
    folder = open_model_folder(make(tmp_path, {"config.yaml": written, "model.pb": ""}))
    assert folder.tokens == ("<blank>", "no", "6", "on", "-", "yes", "~", "0x1F", "1_0")
    assert folder.config["token_list"] == list(folder.tokens)


def test_a_token_file_repairs_a_list_that_lost_its_marks(tmp_path):
    config = {**CONFIG_0X, "token_list": ["<blank>", "and", "and"]}
    make(tmp_path, {"config.yaml": config, "model.pb": ""})
    assert open_model_folder(tmp_path).tokens == ("<blank>", "and", "and")
    make(tmp_path, {"tokens.json": ["<blank>", "and@@", "and"]})
    assert open_model_folder(tmp_path).tokens == ("<blank>", "and@@", "and")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.yaml": CONFIG_0X, "model.pb": ""}, "has no tokens.txt or tokens.json .*found config.yaml"),
        ({"config.yaml": CONFIG_0X, "tokens.txt": "a\n"}, "has no model.pb or model.pt"),
        ({"configuration.json": CONFIGURATION_0X, "m.pb": ""}, "has no c.yaml"),
        ({"configuration.json": CONFIGURATION_0X, "c.yaml": CONFIG_0X}, "has no m.pb"),
        ({"configuration.json": CONFIGURATION_0X, "c.yaml": CONFIG_0X, "m.pb": "", "tokens.txt": "a\n"}, "has no"),
        ({"model.onnx": "", "config.yaml": {"a": 1}, "model.pb": ""}, "neither .* 0.x nor .* 1.x .*ONNX"),
        ({"config.json": {}, "model.safetensors": ""}, "neither .*Hugging Face"),
        ({"train.yaml": {}, "final.pt": ""}, "neither .*WeNet"),
        ({}, "neither .*found nothing"),
        ({"config.yaml": CONFIG_0X, "model.pb": "", "tokens.txt": "a\nb\na\n"}, "duplicate token 'a'"),
        ({"config.yaml": CONFIG_0X, "model.pb": "", "tokens.txt": "a\n\nb\n"}, "no empty line"),
        ({"config.yaml": CONFIG_0X, "model.pb": "", "tokens.json": {"a": 1}}, "JSON list of strings"),
        ({"config.yaml": "a: [1", "model.pb": ""}, "not valid YAML"),
        ({"config.yaml": "- a\n", "model.pb": ""}, "expected 'key: value' lines"),
    ],
)
def test_broken_folders(tmp_path, files, message):
    with pytest.raises(DataError, match=message) as caught:
        open_model_folder(make(tmp_path, files))
    assert str(tmp_path) in str(caught.value)


def test_files_that_recognition_does_without_may_be_missing(tmp_path, caplog):
    configuration = {"model": {"am_model_name": "model.pb", "model_config": {"lm_model_name": "lm/lm.pb"}}}
    configuration["file_path_metas"] = {"tokenizer_conf": {"seg_dict_file": "seg_dict"}}
    files = {"configuration.json": configuration, "config.yaml": CONFIG_0X, "model.pb": "", "tokens.txt": "a\n"}
    folder = open_model_folder(make(tmp_path, files))
    assert folder.lm_weights is None and folder.seg_dict is None
    assert "names lm/lm.pb, which is not there" in caplog.text and "names seg_dict" in caplog.text


def test_features_that_are_not_normalized_are_said(tmp_path, caplog):
    files = {"config.yaml": {**CONFIG_0X, "frontend": "wav_frontend"}, "model.pb": "", "tokens.txt": "a\n"}
    assert open_model_folder(make(tmp_path, files)).cmvn is None
    assert "no am.mvn" in caplog.text


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no model folder"):
        open_model_folder(tmp_path / "none")


def test_names_outside_the_folder_are_refused(tmp_path):
    configuration = {"model": {"am_model_name": "../../etc/passwd"}}
    files = {"configuration.json": configuration, "config.yaml": CONFIG_0X, "tokens.txt": "a\n"}
    with pytest.raises(DataError, match="outside the model folder"):
        open_model_folder(make(tmp_path, files))


def test_a_yaml_tag_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    config = f"model: !!python/object/apply:os.system ['touch {marker}']\n"
    with pytest.raises(UnsafeFileError):
        open_model_folder(make(tmp_path, {"config.yaml": config, "model.pb": ""}))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("encoder_conf", "frame_ms"),
    [({}, 60), ({"input_layer": "pe"}, 60), ({"input_layer": "conv2d"}, 240), ({"subsampling_factor": 2}, 120)],
)
def test_an_encoder_frame_counts_stacking_and_subsampling(encoder_conf, frame_ms):
    config = {"frontend_conf": {"frame_shift": 10, "lfr_n": 6, "n_mels": None}, "encoder_conf": encoder_conf}
    folder = ModelFolder(Path("."), "0.x", "asr", config, (), Path("model.pb"))
    assert (folder.encoder_frame_ms, folder.feature_frame_ms, folder.mel_bins) == (frame_ms, 60, 80)
    assert folder.frames_per_second == pytest.approx(1000 / frame_ms)


def test_subsampling_is_that_of_the_networks():
    strides = {name: math.prod(stride for _, stride in layers) for name, layers in CONV_LAYERS.items()}
    assert strides == SUBSAMPLING
