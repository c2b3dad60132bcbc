"""Sizes and shapes of the real models, batch invariance, what a configuration may say."""

import copy
import re
from pathlib import Path

import pytest
import torch
import yaml

from funrecipe.errors import UsageError
from funrecipe.models.layers import sinusoidal_positions
from funrecipe.models.registry import build_model

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
FAMILIES = ["paraformer", "bicif_paraformer", "contextual_paraformer"]


def config_of(case):
    return yaml.safe_load((GOLDEN / case / "config.yaml").read_text(encoding="utf-8"))


def large_config(model="paraformer"):
    """The settings of Paraformer-large (contract 2.3)."""
    config = config_of("paraformer")
    config["model"] = model
    config["encoder_conf"] |= {"output_size": 512, "linear_units": 2048, "num_blocks": 50}
    config["decoder_conf"] |= {"linear_units": 2048, "num_blocks": 16, "att_layer_num": 16}
    config["predictor_conf"]["idim"] = 512
    return config


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_paraformer_large_has_the_published_tensors():
    with torch.device("meta"):
        model = build_model(large_config(), 8404)
    names = shapes(model)
    assert len(names) == 956
    assert sum(p.numel() for p in model.state_dict().values()) == 220_084_533
    assert names["encoder.encoders0.0.self_attn.linear_q_k_v.weight"] == (1536, 560)
    assert names["encoder.encoders.48.self_attn.fsmn_block.weight"] == (512, 1, 11)
    assert names["decoder.decoders.15.src_attn.linear_k_v.weight"] == (1024, 512)
    assert names["decoder.decoders3.0.feed_forward.w_2.weight"] == (512, 2048)
    assert names["decoder.embed.0.weight"] == (8404, 512)
    assert names["predictor.cif_conv1d.weight"] == (512, 512, 3)
    assert "decoder.decoders.0.feed_forward.w_2.bias" not in names
    assert not [name for name in names if name.startswith("ctc.") or "decoders2" in name]


def test_bicif_large_has_the_published_tensors():
    config = large_config("bicif_paraformer")
    bicif = config_of("bicif_paraformer")
    config["predictor"], config["predictor_conf"] = bicif["predictor"], bicif["predictor_conf"] | {"idim": 512}
    with torch.device("meta"):
        model = build_model(config, 8404)
    assert len(shapes(model)) == 968
    assert sum(p.numel() for p in model.state_dict().values()) == 225_074_998


def test_contextual_large_has_the_published_tensors():
    config = large_config("contextual_paraformer")
    config["decoder"] = "contextual_paraformer_decoder"
    config["model_conf"]["inner_dim"] = 512
    config["encoder_conf"]["num_blocks"] = 2  # as the published list
    with torch.device("meta"):
        model = build_model(config, 8404)
    names = shapes(model)
    assert len(names) == 346
    assert sum(p.numel() for p in model.state_dict().values()) == 76_479_797
    assert names["decoder.bias_output.weight"] == (512, 1024, 1)
    assert names["bias_encoder.weight_ih_l0"] == (2048, 512)
    assert "decoder.last_decoder.norm3.weight" in names and "decoder.decoders.15.norm1.weight" not in names


def test_layers_without_attention_when_num_blocks_exceeds_att_layer_num():
    config = config_of("paraformer")
    config["decoder_conf"] |= {"num_blocks": 5, "att_layer_num": 3}
    model = build_model(config, 50).eval()
    memory_only = [name for name in model.state_dict() if name.startswith("decoder.decoders2.1.")]
    assert memory_only and not any("src_attn" in name or "norm3" in name for name in memory_only)
    with torch.inference_mode():
        log_probs, token_lens = model(torch.randn(1, 20, 560), torch.tensor([20]))
    assert log_probs.shape == (1, int(token_lens), 50)


def test_paraformer_bert_keeps_its_projection_and_recognizes_without():
    config = config_of("paraformer") | {"model": "paraformer_bert"}
    config["model_conf"]["embed_dims"] = 24
    model = build_model(config, 50).eval()
    plain = build_model(config_of("paraformer"), 50).eval()
    assert set(model.state_dict()) - set(plain.state_dict()) == {"pro_nn.weight", "pro_nn.bias"}
    assert shapes(model)["pro_nn.weight"] == (24, 32)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("pro_nn")})
    feats, lens = torch.randn(1, 20, 560), torch.tensor([20])
    assert torch.equal(model(feats, lens)[0], plain(feats, lens)[0])


def test_paraformer_with_a_data2vec_encoder():
    config = config_of("paraformer")
    config["encoder"] = "data2vec_encoder"
    config["encoder_conf"] = {
        "extractor_mode": "layer_norm",
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 48,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "conv_pos": 15,
        "pos_conv_depth": 3,
        "mask_prob": 0.65,
        "conv_feature_layers": "[(24, 2, 2)] * 2",
    }
    model = build_model(config, 50).eval()
    encoder_out, lens = model.encode(torch.randn(2, 41, 560), torch.tensor([41, 20]))
    assert encoder_out.shape == (2, 10, 32) and lens.tolist() == [10, 5]


def test_ctc_head_follows_ctc_weight():
    config = config_of("paraformer")
    assert build_model(config, 50).ctc is None
    config["model_conf"]["ctc_weight"] = 0.3
    assert shapes(build_model(config, 50))["ctc.ctc_lo.weight"] == (50, 32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_what_each_utterance_gives_alone(family):
    torch.manual_seed(0)
    model = build_model(config_of(family), 50).eval()
    feats, lens = torch.randn(4, 60, 560), torch.tensor([60, 7, 33, 1])
    with torch.inference_mode():
        together, token_lens = model(feats, lens)
        for row, frames in enumerate(lens):
            alone, tokens = model(feats[row : row + 1, :frames], lens[row : row + 1])
            assert tokens[0] == token_lens[row]
            torch.testing.assert_close(together[row, : tokens[0]], alone[0], atol=1e-4, rtol=0)


def test_padding_values_never_matter():
    torch.manual_seed(0)
    model = build_model(config_of("paraformer"), 50).eval()
    feats, lens = torch.randn(2, 30, 560), torch.tensor([30, 11])
    with torch.inference_mode():
        clean, _ = model(feats, lens)
        dirty = feats.clone()
        dirty[1, 11:] = 1e4
        spoiled, _ = model(dirty, lens)
    torch.testing.assert_close(clean, spoiled, atol=1e-5, rtol=0)


def test_dropout_of_the_configuration_acts_in_training_only():
    config = config_of("paraformer")
    config["encoder_conf"]["dropout_rate"] = 0.3
    model = build_model(config, 50)
    feats, lens = torch.randn(1, 30, 560), torch.tensor([30])
    assert not torch.equal(model.encode(feats, lens)[0], model.encode(feats, lens)[0])
    model.eval()
    assert torch.equal(model.encode(feats, lens)[0], model.encode(feats, lens)[0])


def test_positions_vector_of_the_contract():
    table = sinusoidal_positions(2, 6)
    assert table[0].tolist() == pytest.approx([0.841471, 0.0099998, 1e-4, 0.540302, 0.99995, 1.0], abs=1e-6)
    assert table[1].tolist() == pytest.approx([0.909297, 0.0199987, 2e-4, -0.416147, 0.9998, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    "section,key,value,message",
    [
        (None, "model", "paraformr", "did you mean 'paraformer'"),
        (None, "model", "mfcca", "not supported"),
        (None, "encoder", "sanm2", "encoder"),
        ("encoder_conf", "num_bloks", 3, "did you mean 'num_blocks'"),
        ("encoder_conf", "normalize_before", False, "normalize_before"),
        ("encoder_conf", "interctc_layer_idx", [1], "interctc_layer_idx"),
        ("decoder_conf", "kernel", 3, "did you mean 'kernel_size'"),
        ("predictor_conf", "treshold", 1.0, "did you mean 'threshold'"),
    ],
)
def test_settings_that_are_not_known_or_not_supported_are_named(section, key, value, message):
    config = copy.deepcopy(config_of("paraformer"))
    (config if section is None else config[section])[key] = value
    with pytest.raises(UsageError, match=re.escape(message)):
        build_model(config, 50)
