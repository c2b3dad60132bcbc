"""Integrate-and-fire against the contract's vectors and a frame-by-frame reading of its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.models.cif import CifPredictor, CifPredictorV2, accumulator, integrate_and_fire


def step_by_step(hidden, alphas, threshold=1.0):
    """The definition, one frame at a time, in float64: at most one firing a frame, which takes 1 away."""
    held, frame, embeds, peaks = 0.0, np.zeros(hidden.shape[1]), [], []
    for vector, alpha in zip(hidden.astype(np.float64), alphas.astype(np.float64)):
        missing = 1.0 - held
        held += alpha
        peaks.append(held)
        if held >= threshold:
            embeds.append(frame + missing * vector)
            held -= 1.0
            frame = (alpha - missing) * vector
        else:
            frame = frame + alpha * vector
    return np.array(embeds).reshape(-1, hidden.shape[1]), np.array(peaks)


def test_vector_of_the_contract():
    hidden = torch.tensor([[[1.0, 0], [0, 1], [2, 2], [3, -1], [1, 1]]])
    embeds, fired, peaks = integrate_and_fire(hidden, torch.tensor([[0.4, 0.7, 0.3, 0.9, 0.5]]))
    torch.testing.assert_close(embeds, torch.tensor([[[0.4, 0.6], [2.4, 0.1]]]))
    torch.testing.assert_close(peaks, torch.tensor([[0.4, 1.1, 0.4, 1.3, 0.8]]))
    assert fired.tolist() == [2]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(1, 1900).map(lambda n: n / 1009), min_size=1, max_size=40),  # training scales above 1
    st.sampled_from([1.0, 0.9]),
)
def test_equals_the_definition(alphas, threshold):
    alphas = np.array(alphas, np.float32)
    peaks_of_definition = step_by_step(np.zeros((len(alphas), 1)), alphas, threshold)[1]
    if np.abs(peaks_of_definition - threshold).min() < 1e-6:
        return  # a coin toss of rounding
    hidden = np.random.default_rng(len(alphas)).standard_normal((len(alphas), 3)).astype(np.float32)
    wanted, wanted_peaks = step_by_step(hidden, alphas, threshold)
    embeds, fired, peaks = integrate_and_fire(torch.from_numpy(hidden)[None], torch.from_numpy(alphas)[None], threshold)
    assert fired.item() == len(wanted)
    np.testing.assert_allclose(embeds[0].numpy(), wanted, atol=1e-4)
    np.testing.assert_allclose(peaks[0].numpy(), wanted_peaks, atol=1e-4)


def test_accumulator_that_loses_its_threshold():
    # fires at 0.9 and then loses 0.9, as the time stamp head does
    ours = accumulator(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), 0.9, 0.9)
    torch.testing.assert_close(ours, torch.tensor([[0.5, 1.0, 0.6, 1.1]]))


def predictor_with_alphas(cls, alpha, **conf):
    """A predictor that gives every frame the same alpha."""
    predictor = cls(4, **conf)
    with torch.no_grad():
        predictor.cif_output.weight.zero_()
        predictor.cif_output.bias.fill_(torch.logit(torch.tensor(alpha)))
    return predictor.eval()


@pytest.mark.parametrize("cls", [CifPredictor, CifPredictorV2])
@pytest.mark.parametrize("frames,tokens,alphas", [(4, 2, [0.5, 0.5, 0.5, 0.5, 0.45]), (2, 1, [0.5, 0.5, 0.45, 0, 0])])
def test_tail_vectors_of_the_contract(cls, frames, tokens, alphas):
    predictor = predictor_with_alphas(cls, 0.5, tail_threshold=0.45)
    hidden = torch.ones(1, 4, 4)
    hidden[:, frames:] = 0
    output = predictor(hidden, torch.tensor([frames]))
    torch.testing.assert_close(output.alphas, torch.tensor([alphas]))
    assert output.token_num.tolist() == [tokens]
    assert output.embeds.shape == (1, tokens, 4)


@pytest.mark.parametrize("targets", [[3, 11], [12, 1], [20, 20]])
def test_training_fires_exactly_as_often_as_there_are_targets(targets):
    torch.manual_seed(sum(targets))
    predictor = CifPredictorV2(8, tail_threshold=0.45)
    hidden = torch.randn(2, 40, 8)
    hidden[1, 33:] = 0
    output = predictor(hidden, torch.tensor([40, 33]), target_lens=torch.tensor(targets))
    torch.testing.assert_close(output.alphas.sum(dim=1), torch.tensor(targets, dtype=torch.float32))
    for row, target in enumerate(targets):
        assert output.embeds[row, :target].abs().sum(dim=1).min() > 0  # FunASR may lose the last one to rounding
        assert not output.embeds[row, target:].any()


def test_training_last_firing_survives_rounding():
    for frames in range(20, 400, 7):
        predictor = predictor_with_alphas(CifPredictorV2, 0.3)
        output = predictor(torch.ones(1, frames, 4), torch.tensor([frames]), target_lens=torch.tensor([frames // 5]))
        assert output.embeds[0, -1].abs().sum() > 0


def test_embeddings_are_differentiable_through_alphas():
    alphas = torch.tensor([[0.4, 0.7, 0.3, 0.9, 0.5]], dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, a: integrate_and_fire(h, a)[0], (hidden, alphas))


def test_batch_decides_as_each_alone():
    torch.manual_seed(3)
    predictor = CifPredictorV2(8, tail_threshold=0.45).eval()
    hidden = torch.randn(3, 50, 8)
    lens = torch.tensor([50, 31, 1])
    for row, length in enumerate(lens):
        hidden[row, length:] = 0
    together = predictor(hidden, lens)
    for row, length in enumerate(lens):
        alone = predictor(hidden[row : row + 1, :length], lens[row : row + 1])
        tokens = int(alone.token_num)
        assert together.token_num[row] == tokens
        torch.testing.assert_close(together.embeds[row, :tokens], alone.embeds[0])
        assert not together.embeds[row, tokens:].any()
