"""The data2vec encoder against FunASR's class (stored output) and the published sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.models.data2vec import Data2VecEncoder, conv_layers
from funrecipe.models.registry import construct

GOLDEN = Path(__file__).parents[1] / "data" / "data2vec"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "io.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture
def encoder(golden):
    conf = json.loads((GOLDEN / "encoder_conf.json").read_text())
    encoder = construct(Data2VecEncoder, conf, "encoder_conf", input_size=golden["feats"].size(2)).eval()
    encoder.load_state_dict({k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")})
    return encoder


@torch.inference_mode()
def test_equals_funasr_with_its_padding_leak(encoder, golden):
    encoder.encoder.pad_invariant = False
    out, lens = encoder(golden["feats"], golden["feat_lens"])
    assert torch.equal(lens, golden["batch_lens"])
    torch.testing.assert_close(out, golden["batch"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_batch_equals_funasr_alone(encoder, golden):
    out, lens = encoder(golden["feats"], golden["feat_lens"])
    for row, frames in enumerate(lens):
        torch.testing.assert_close(out[row, :frames], golden[f"u{row}"][0], atol=1e-4, rtol=0)
        assert not out[row, frames:].any()


def test_published_size():
    with torch.device("meta"):
        state = Data2VecEncoder(80, conv_pos=95, pos_conv_depth=5).state_dict()
    assert (len(state), sum(t.numel() for t in state.values())) == (217, 90_156_544)
    assert state["encoder.pos_conv.0.0.weight"].shape == (768, 48, 19)


@pytest.mark.parametrize("text", ["[(512, 2, 2)] * 2", "[(512,2,2)] + [(512,2,2)]", " [(512, 2, 2), (512, 2, 2)]"])
def test_conv_layers_are_read(text):
    assert conv_layers(text) == [(512, 2, 2)] * 2


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "[(512, 2)]", "[(512,2,2)] *", "open('x')", "3"])
def test_conv_layers_are_never_run(text):
    with pytest.raises(ValueError, match="conv_feature_layers"):
        conv_layers(text)


def test_too_short_input_has_no_frames(encoder, golden):
    out, lens = encoder(golden["feats"][:, :3], torch.tensor([3, 1]))
    assert lens.tolist() == [0, 0]
