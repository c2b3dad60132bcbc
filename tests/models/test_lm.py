"""Language models: with state as without, alone as in a batch; perplexity by its definition."""

import math

import pytest
import torch

from funrecipe.models.lm import LanguageModel, SequentialRNNLM, TransformerLM

KINDS = {
    "transformer": lambda: TransformerLM(13, embed_unit=6, att_unit=8, head=2, unit=10, layer=2),
    "sinusoidal": lambda: TransformerLM(13, pos_enc="sinusoidal", embed_unit=6, att_unit=8, head=2, unit=10, layer=2),
    "lstm": lambda: SequentialRNNLM(13, unit=6, nlayers=2),
    "gru": lambda: SequentialRNNLM(13, unit=6, nlayers=1, rnn_type="gru"),
    "rnn_tanh": lambda: SequentialRNNLM(13, unit=6, nlayers=2, rnn_type="rnn_tanh"),
}


@pytest.fixture(params=list(KINDS))
def model(request):
    torch.manual_seed(1)
    return LanguageModel(KINDS[request.param](), 13).eval()


@torch.inference_mode()
def test_steps_with_state_equal_the_whole_sequence(model):
    tokens = torch.randint(0, 13, (2, 3, 6))  # blank among them
    state = [part.expand(-1, 3, *part.shape[2:]) for part in model.lm.start(2, tokens.device)]
    for position in range(6):
        log_probs, state = model.lm.step(tokens[:, :, position], state)
        whole = model.lm(tokens.flatten(0, 1)).log_softmax(-1)[:, position].view(2, 3, -1)
        if (tokens[:, :, 0] != 0).all():
            torch.testing.assert_close(log_probs, whole, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_nll_of_a_batch_equals_alone_and_ignores_padding(model):
    tokens, lens = torch.randint(3, 13, (3, 7)), torch.tensor([7, 4, 0])
    nll, nll_lens = model.nll(tokens.masked_fill(torch.arange(7) >= lens[:, None], -1), lens)
    assert nll_lens.tolist() == [8, 5, 1]
    for row, size in enumerate(lens.tolist()):
        alone, _ = model.nll(tokens[row : row + 1, :size], lens[row : row + 1])
        torch.testing.assert_close(nll[row, : size + 1], alone[0], atol=1e-5, rtol=0)
        assert not nll[row, size + 1 :].any()


@torch.inference_mode()
def test_perplexity_of_a_uniform_model_is_the_vocabulary_size(model):
    torch.nn.init.zeros_(model.lm.decoder.weight)
    torch.nn.init.zeros_(model.lm.decoder.bias)
    nll, lens = model.nll(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1]))
    assert (nll.sum(1) / lens).exp().tolist() == pytest.approx([13.0, 13.0], rel=1e-5)
    nll, _ = model.nll(torch.tensor([[5, 6, 7]]), torch.tensor([3]))
    assert nll.sum().item() == pytest.approx(4 * math.log(13), rel=1e-5)
