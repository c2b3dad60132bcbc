"""Speaker models: folders of every kind, shortest audio, independence of the batch."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.speaker.embedding import load_speaker_model

PARITY = Path(__file__).parents[1] / "data" / "parity"
KINDS = ("campplus", "eres2netv2", "xvector")


@pytest.fixture(params=KINDS)
def model(request):
    return load_speaker_model(open_model_folder(PARITY / request.param))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def test_a_window_gets_the_embedding_that_it_gets_alone(model):
    windows = np.stack([noise(24000, seed) for seed in range(3)])
    together = model.embed_windows(windows)
    assert together.shape == (3, model.embedding_size)
    np.testing.assert_allclose(together, [model.embed(window) for window in windows], atol=1e-4)


def test_the_shortest_audio_has_an_embedding_and_one_sample_less_is_refused(model):
    assert np.isfinite(model.embed(noise(model.min_samples))).all()
    with pytest.raises(DataError, match="ms of audio is too short for a speaker embedding, which needs"):
        model.embed(noise(model.min_samples - 1))


def test_audio_that_is_not_a_number_is_refused(model):
    with pytest.raises(DataError, match="not finite"):
        model.embed(np.full(24000, np.nan, np.float32))


@pytest.mark.parametrize(
    ("config", "vocab_size", "tensors", "elements"),
    [
        ({"model": "campplus"}, 0, 937, 6_848_544),
        ({"model": "eres2netv2"}, 0, 557, 17_859_632),
        ({"model": "sv", "encoder": "resnet34", "frontend_conf": {"n_mels": 80}}, 3465, 238, None),
    ],
)
def test_full_size_models_have_the_published_number_of_tensors(config, vocab_size, tensors, elements):
    with torch.device("meta"):
        model = build_model(config, vocab_size)
    assert len(model.state_dict()) == tensors
    assert elements is None or sum(parameter.numel() for parameter in model.parameters()) == elements


def test_a_modelscope_folder_without_a_configuration_file_is_described_by_its_json(tmp_path):
    model = {"type": "cam++-sv", "model_config": {"sample_rate": 8000, "fbank_dim": 40, "emb_size": 512}}
    model |= {"pretrained_model": "campplus.bin", "yesOrno_thr": 0.4}
    (tmp_path / "configuration.json").write_text(json.dumps({"model": model}))
    (tmp_path / "campplus.bin").write_bytes(b"")
    folder = open_model_folder(tmp_path)
    assert (folder.family, folder.sample_rate_hz, folder.weights.name) == ("campplus", 8000, "campplus.bin")
    assert folder.config["model_conf"] == {"feat_dim": 40, "embedding_size": 512}


def test_weights_under_the_prefix_of_funasr_are_the_same_model(tmp_path):
    plain = PARITY / "eres2netv2"
    shutil.copytree(plain, tmp_path / "wrapped")
    state = torch.load(plain / "pretrained_eres2netv2.ckpt", weights_only=True)
    torch.save(
        {f"model.{name}": tensor for name, tensor in state.items()}, tmp_path / "wrapped/pretrained_eres2netv2.ckpt"
    )
    waveform = noise(16000)
    first, second = (
        load_speaker_model(open_model_folder(path)).embed(waveform) for path in (plain, tmp_path / "wrapped")
    )
    np.testing.assert_array_equal(first, second)


def test_an_x_vector_model_needs_no_list_of_its_training_speakers(tmp_path):
    shutil.copytree(PARITY / "xvector", tmp_path / "model")
    config = tmp_path / "model" / "sv.yaml"
    config.write_text(re.sub(r"token_list:\n(- .*\n)+", "token_list: /home/author/spk_list.txt\n", config.read_text()))
    waveform = noise(16000)
    first, second = (
        load_speaker_model(open_model_folder(p)).embed(waveform) for p in (PARITY / "xvector", tmp_path / "model")
    )
    np.testing.assert_array_equal(first, second)


def test_a_setting_that_the_network_does_not_have_is_named(tmp_path):
    shutil.copytree(PARITY / "campplus", tmp_path / "model")
    config = tmp_path / "model" / "config.yaml"
    config.write_text(config.read_text().replace("output_level: segment", "output_level: frame"))
    with pytest.raises(UsageError, match="output_level: 'frame' is not supported"):
        load_speaker_model(open_model_folder(tmp_path / "model"))


def test_a_recognizer_is_not_a_speaker_model_and_the_reverse():
    with pytest.raises(UsageError, match="family 'paraformer' has no speaker embeddings"):
        load_speaker_model(open_model_folder(PARITY / "paraformer"))
    with pytest.raises(UsageError, match="family 'campplus' does not recognize speech"):
        load_recognizer(open_model_folder(PARITY / "campplus"))
