"""Chunk layout, chunk encoder and SCAMA masks: golden arrays of FunASR 0.8.8 and invariants."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.models.sanm_chunk import ChunkLayout, ChunkShape, SANMChunkEncoder
from tools.parity.case import Case
from tools.parity.online import load_model

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(PARITY / "paraformer_online", PARITY)


@pytest.fixture(scope="module")
def model(case):
    return load_model(case)


shapes = st.builds(
    lambda stride, left, right, gap, back: ChunkShape(stride + left + right, stride, left, gap, back, back),
    st.integers(1, 12),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 5),
    st.integers(0, 2),
)


@settings(max_examples=80, deadline=None)
@given(shape=shapes, lens=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_join_undoes_split(shape, lens):
    lens = torch.tensor(lens)
    x = torch.randn(len(lens), int(lens.max()), 3)
    x = x * (torch.arange(x.size(1)) < lens[:, None])[:, :, None]
    layout = ChunkLayout(lens, shape)
    assert torch.equal(layout.join(layout.split(x)), x)


@settings(max_examples=80, deadline=None)
@given(shape=shapes, length=st.integers(1, 40))
def test_every_frame_is_own_exactly_once(shape, length):
    layout = ChunkLayout(torch.tensor([length]), shape)
    numbers = layout.split(torch.arange(1.0, length + 1)[None, :, None])[0, :, 0]
    own = numbers[layout.own & (numbers > 0)]
    assert own.tolist() == list(range(1, length + 1))


@pytest.mark.parametrize("shape_index", [0, 1])
@pytest.mark.parametrize("utterance", [0, 1])
def test_encoder_equals_funasr(case, model, shape_index, utterance):
    lens = torch.from_numpy(case.inputs["feats_lens"])[utterance : utterance + 1]
    feats = torch.from_numpy(case.inputs["feats"])[utterance : utterance + 1, : int(lens)]
    with torch.inference_mode():
        output, log_probs = model.recognize_chunked(feats, lens, shape_index)
    golden = {key: case.expected[f"fake.ind{shape_index}.u{utterance}.{key}"] for key in (
        "encoder_out_chunked", "alphas", "scama_mask", "decoder_log_probs", "argmax_ids")}  # fmt: skip
    assert abs(output.encoder_out.numpy() - golden["encoder_out_chunked"]).max() < 1e-4
    assert abs(output.cif.alphas.numpy() - golden["alphas"]).max() < 1e-4
    assert (output.attention_mask.numpy() == golden["scama_mask"]).all()
    assert abs(log_probs.numpy() - golden["decoder_log_probs"]).max() < 1e-4
    assert (log_probs.argmax(2).numpy() == golden["argmax_ids"]).all()


def test_batch_equals_alone(case, model):
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    lens = torch.tensor([int(lens[0]), 7, 23])
    feats = torch.stack([feats[0], feats[1], feats[0].flip(0)])
    with torch.inference_mode():
        log_probs, token_lens = model(feats, lens)
        for i, length in enumerate(lens.tolist()):
            alone, tokens = model(feats[i : i + 1, :length].clone(), lens[i : i + 1])
            assert int(token_lens[i]) == int(tokens)
            torch.testing.assert_close(log_probs[i, : int(tokens)], alone[0], rtol=0, atol=1e-4)


def test_a_frame_does_not_see_behind_its_chunk(case, model):
    """What comes after a chunk's right context cannot change the chunk: that is what streaming rests on."""
    encoder: SANMChunkEncoder = model.encoder
    shape = encoder.chunk_shapes[0]
    feats = torch.from_numpy(case.inputs["feats"])[:1].clone()
    lens = torch.tensor([feats.size(1)])
    changed = feats.clone()
    changed[:, shape.size - shape.left :] += 1.0
    with torch.inference_mode():
        before, after = encoder(feats, lens)[0], encoder(changed, lens)[0]
    assert torch.equal(before[:, : shape.stride], after[:, : shape.stride])
    assert not torch.allclose(before[:, shape.stride :], after[:, shape.stride :])
