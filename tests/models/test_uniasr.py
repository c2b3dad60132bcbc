"""UniASR: both passes equal FunASR 0.8.8, alone and in a batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.errors import UsageError
from funrecipe.models.registry import build_model
from tools.parity.case import Case
from tools.parity.online import load_model
from tools.parity.uniasr import run_mode

PARITY = Path(__file__).parents[1] / "data" / "parity"
MODES = ["fast", "normal", "offline", "x_ind1_model1"]


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(PARITY / "uniasr", PARITY)


@pytest.fixture(scope="module")
def model(case):
    return load_model(case)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("utterance", [0, 1])
def test_passes_equal_funasr(case, model, mode, utterance):
    lens = torch.from_numpy(case.inputs["feats_lens"])[utterance : utterance + 1]
    feats = torch.from_numpy(case.inputs["feats"])[utterance : utterance + 1, : int(lens)]
    with torch.inference_mode():
        _, passed = run_mode(model, mode, feats, lens)
    prefix = f"{mode}.u{utterance}"
    encoder = "encoder" if f"{prefix}.encoder_out_chunked" in case.expected else "encoder2"
    np.testing.assert_allclose(passed.encoder_out, case.expected[f"{prefix}.{encoder}_out_chunked"], atol=1e-4)
    np.testing.assert_allclose(passed.cif.alphas, case.expected[f"{prefix}.alphas"], atol=1e-4)
    np.testing.assert_allclose(passed.cif.embeds, case.expected[f"{prefix}.acoustic_embeds"], atol=1e-4)
    np.testing.assert_array_equal(passed.attention_mask.float(), case.expected[f"{prefix}.scama_mask"])


@pytest.mark.parametrize("mode", MODES)
def test_batch_equals_alone(case, model, mode):
    lens = torch.tensor([int(case.inputs["feats_lens"][0]), 5, 31])
    feats = torch.from_numpy(case.inputs["feats"])[[0, 1, 0]]
    feats = feats * (torch.arange(feats.size(1)) < lens[:, None])[:, :, None]
    with torch.inference_mode():
        _, batch = run_mode(model, mode, feats, lens)
        for i, length in enumerate(lens.tolist()):
            _, alone = run_mode(model, mode, feats[i : i + 1, :length], lens[i : i + 1])
            tokens, positions = int(alone.token_lens), int(alone.layout.lens)
            assert int(batch.token_lens[i]) == tokens
            torch.testing.assert_close(batch.encoder_out[i, :positions], alone.encoder_out[0], rtol=0, atol=1e-4)
            torch.testing.assert_close(batch.cif.embeds[i, :tokens], alone.cif.embeds[0, :tokens], rtol=0, atol=1e-4)
            assert torch.equal(batch.attention_mask[i, :tokens, :positions], alone.attention_mask[0])


def test_teacher_forcing_equals_steps(case, model):
    """The training decoder and the search's decoder are one function of the tokens before."""
    lens = torch.from_numpy(case.inputs["feats_lens"])[:1]
    feats = torch.from_numpy(case.inputs["feats"])[:1, : int(lens)]
    with torch.inference_mode():
        decoder, passed = run_mode(model, "normal", feats, lens)
        count = int(passed.token_lens)
        tokens = torch.randint(3, 40, (1, count), generator=torch.Generator().manual_seed(0))
        tokens[0, 0] = 1
        logits = decoder(
            passed.encoder_out, tokens, passed.token_lens, passed.attention_mask, passed.cif.embeds[:, :count]
        )
        memory, state, steps = decoder.memory(passed), decoder.start(1, feats.device), []
        for position in range(count):
            log_probs, state = decoder.step(tokens[:, position : position + 1], state, memory, position)
            steps.append(log_probs)
    torch.testing.assert_close(torch.cat(steps, dim=1), logits.log_softmax(-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"model_conf": {"decoder_attention_chunk_type2": "full"}},
        {"encoder": "sanm"},
        {"decoder2": "transformer"},
    ],
)
def test_what_is_not_supported_is_named(case, change):
    config = case.yaml("config.yaml")
    with pytest.raises(UsageError, match="full|sanm|transformer"):
        build_model({**config, **change}, len(config["token_list"]))
