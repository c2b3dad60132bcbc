"""Conformer and Transformer encoders: padding never changes a result; configurations that are not supported say so."""

import pytest
import torch

from funrecipe.errors import UsageError
from funrecipe.models.attention import gather_legacy_ragged, shift_legacy, shift_legacy_ragged, shift_relative
from funrecipe.models.conformer import ConformerEncoder
from funrecipe.models.registry import build_model
from funrecipe.models.transformer import TransformerDecoder, TransformerEncoder

SMALL = {"output_size": 8, "attention_heads": 2, "linear_units": 12, "num_blocks": 2, "dropout_rate": 0.0}


AISHELL_CONFORMER = {
    "model": "asr",
    "model_conf": {"ctc_weight": 0.3},
    "encoder": "conformer",
    "decoder": "transformer",
    "encoder_conf": {
        "output_size": 256,
        "linear_units": 2048,
        "num_blocks": 12,
        "macaron_style": True,
        "cnn_module_kernel": 15,
    },
    "decoder_conf": {"linear_units": 2048, "num_blocks": 6},
}
AISHELL_TRANSDUCER = {
    "model": "rnnt_unified",
    "encoder": "chunk_conformer",
    "rnnt_decoder": "rnnt",
    "encoder_conf": {
        "output_size": 512,
        "attention_heads": 8,
        "linear_units": 2048,
        "num_blocks": 12,
        "cnn_module_kernel": 15,
        "subsampling_factor": 4,
        "unified_model_training": True,
    },
    "rnnt_decoder_conf": {"embed_size": 512, "hidden_size": 512},
    "joint_network_conf": {"joint_space_size": 512},
}
TRANSFORMER_LM = {
    "model": "lm",
    "lm": "transformer",
    "lm_conf": {"embed_unit": 128, "att_unit": 512, "head": 8, "unit": 2048, "layer": 16},
}


@pytest.mark.parametrize(
    ("config", "vocab", "tensors", "elements"),
    [
        (AISHELL_CONFORMER, 4234, 651, 46_204_192),
        (AISHELL_TRANSDUCER, 4234, 498, 90_111_638),
        (TRANSFORMER_LM, 8404, 265, 55_893_204),
        ({"model": "lm", "lm": "seq_rnn", "lm_conf": {"unit": 650, "nlayers": 2}}, 8404, 11, 17_704_004),
    ],
    ids=["conformer", "transducer", "transformer_lm", "rnn_lm"],
)
def test_real_models_have_the_published_tensors(config, vocab, tensors, elements):
    with torch.device("meta"):
        state = build_model(config, vocab).state_dict()
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == (tensors, elements)


def assert_batch_equals_alone(encoder, width=20):
    torch.manual_seed(0)
    encoder.eval()
    lens = torch.tensor([61, 37, 18])
    feats = torch.randn(3, 61, width)
    batch, batch_lens = encoder(feats.masked_fill(torch.arange(61)[:, None] >= lens[:, None, None], 0.0), lens)
    for row, frames in enumerate(lens.tolist()):
        alone, alone_lens = encoder(feats[row : row + 1, :frames], lens[row : row + 1])
        assert batch_lens[row] == alone_lens[0] == alone.size(1)
        torch.testing.assert_close(batch[row, : alone.size(1)], alone[0], atol=1e-5, rtol=0)
        assert not batch[row, alone.size(1) :].any()


@pytest.mark.parametrize("rel_pos_type", ["legacy", "latest"])
@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d2", "conv2d6", "conv2d8", "conv2dpad", "linear"])
def test_conformer_batch_equals_alone(input_layer, rel_pos_type):
    conf = {"cnn_module_kernel": 5, "macaron_style": True, "rel_pos_type": rel_pos_type, "input_layer": input_layer}
    assert_batch_equals_alone(ConformerEncoder(20, **SMALL, **conf))


def test_conformer_batch_equals_alone_beyond_the_legacy_table(monkeypatch):
    monkeypatch.setattr("funrecipe.models.conformer.LEGACY_TABLE_POSITIONS", 9)
    monkeypatch.setattr("funrecipe.models.input_layers.LEGACY_TABLE_POSITIONS", 9)
    assert_batch_equals_alone(ConformerEncoder(20, **SMALL, cnn_module_kernel=5))


@pytest.mark.parametrize("normalize_before", [True, False])
def test_transformer_batch_equals_alone(normalize_before):
    assert_batch_equals_alone(TransformerEncoder(20, **SMALL, normalize_before=normalize_before))


def test_an_utterance_shorter_than_the_convolutions_has_no_frames():
    encoder = ConformerEncoder(20, **SMALL, cnn_module_kernel=5).eval()
    out, lens = encoder(torch.randn(2, 6, 20), torch.tensor([6, 1]))
    assert lens.tolist() == [0, 0]
    assert not out.any()


def test_relative_shift_reads_each_distance():
    # column c of row i stands for the distance U - 1 - c, and a key j lies i - j behind the query i
    scores = torch.arange(5.0).expand(3, 5)
    distances = 2 - shift_relative(scores[None, None])[0, 0]
    assert distances.tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]


def test_legacy_shift_is_the_relative_one_up_to_the_diagonal():
    torch.manual_seed(0)
    scores = torch.randn(4, 4)
    shifted = shift_legacy(scores)
    for query in range(4):
        for key in range(query + 1):
            assert shifted[query, key] == scores[query, 3 - (query - key)]


def test_the_legacy_shift_of_graphs_is_the_one_of_torch():
    scores, lens = torch.randn(3, 2, 7, 7), torch.tensor([7, 1, 4])
    assert torch.equal(gather_legacy_ragged(scores, lens), shift_legacy_ragged(scores, lens))


def test_decoder_steps_equal_teacher_forcing():
    torch.manual_seed(0)
    decoder = TransformerDecoder(11, 8, attention_heads=2, linear_units=12, num_blocks=2).eval()
    encoder_out, lens = torch.randn(2, 7, 8), torch.tensor([7, 4])
    tokens = torch.randint(0, 11, (2, 3, 5))  # two utterances, three hypotheses each
    memory, state = decoder.memory(encoder_out, lens), decoder.start(2, encoder_out.device)
    state = [part.expand(-1, 3, -1, -1) for part in state]
    steps = []
    for position in range(5):
        log_probs, state = decoder.step(tokens[:, :, position], state, memory, position)
        steps.append(log_probs)
    for hypothesis in range(3):
        whole = decoder(encoder_out, lens, tokens[:, hypothesis], torch.tensor([5, 5])).log_softmax(-1)
        torch.testing.assert_close(torch.stack(steps, dim=2)[:, hypothesis], whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder_conf": {"rel_pos_type": "newest"}}, "newest"),
        ({"encoder_conf": {"input_layer": "conv3d"}}, "conv3d"),
        ({"encoder_conf": {"num_block": 2}}, "num_block"),
        ({"encoder_conf": {"zero_triu": True}}, "zero_triu"),
        ({"encoder": "sanm"}, "sanm"),
        ({"decoder": "rnn"}, "rnn"),
        ({"encoder_conf": {"output_size": 10, "attention_heads": 4}}, "10"),
    ],
)
def test_unsupported_settings_are_named(change, named):
    config = {"model": "asr", "encoder": "conformer", "decoder": "transformer", "model_conf": {"ctc_weight": 0.3}}
    with pytest.raises(UsageError, match=named):
        build_model(config | change, 10)
