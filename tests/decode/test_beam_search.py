"""Joint beam search against exhaustive search, and that a batch gives what each utterance gives alone."""

import itertools

import pytest
import torch

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, end_detected
from funrecipe.decode.ctc_attention import joint_search
from funrecipe.decode.paraformer import paraformer_beam_search
from funrecipe.decode.scorers import LMScorer
from funrecipe.errors import DataError
from funrecipe.models.ctc import CTC
from funrecipe.models.ctc_attention import CTCAttentionModel
from funrecipe.models.lm import LanguageModel, SequentialRNNLM
from funrecipe.models.transformer import TransformerDecoder

VOCAB, WIDTH = 6, 8


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    decoder = TransformerDecoder(VOCAB, WIDTH, attention_heads=2, linear_units=12, num_blocks=1)
    torch.nn.init.normal_(decoder.output_layer.weight)
    ctc = CTC(VOCAB, WIDTH)
    torch.nn.init.normal_(ctc.ctc_lo.weight)
    return CTCAttentionModel(torch.nn.Identity(), decoder, ctc).eval()


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(6)
    return LanguageModel(SequentialRNNLM(VOCAB, unit=7, nlayers=1), VOCAB).eval()


def fused(lm, weight):
    return [LMScorer(lm.lm, weight, torch.device("cpu"))]


@torch.inference_mode()
def test_a_wide_beam_finds_the_best_of_all_texts(model, lm):
    torch.manual_seed(7)
    encoder_out, lens = torch.randn(1, 5, WIDTH), torch.tensor([5])
    options = BeamOptions(beam_size=400, ctc_weight=0.0, penalty=0.3, maxlenratio=-3)
    found = joint_search(model, encoder_out, lens, options, fused(lm, 0.4))[0]

    def score(text):
        """By teacher forcing; at the length limit eos is added without a score."""
        tokens = torch.tensor([[1, *text]])
        decoder = model.decoder(encoder_out, lens, tokens, torch.tensor([len(text) + 1])).log_softmax(-1)[0]
        language = lm.lm(tokens).log_softmax(-1)[0]
        emitted = list(text) if len(text) == 3 else [*text, 2]
        return sum(float(decoder[i, t] + 0.4 * language[i, t]) + 0.3 for i, t in enumerate(emitted))

    open_tokens = [t for t in range(VOCAB) if t != 2]
    texts = [text for size in range(4) for text in itertools.product(open_tokens, repeat=size)]
    best = max(texts, key=score)
    assert tuple(t for t in found[0].tokens[1:] if t != 2) == best
    assert found[0].score == pytest.approx(score(best), abs=1e-4)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@torch.inference_mode()
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_batch_gives_what_each_utterance_gives_alone(model, lm, ctc_weight, beam_size):
    torch.manual_seed(8)
    lens = torch.tensor([12, 0, 5, 9])
    encoder_out = torch.randn(4, 12, WIDTH)
    options = BeamOptions(beam_size, ctc_weight)
    together = joint_search(model, encoder_out, lens, options, fused(lm, 0.2))
    assert together[1] == []
    for row in (0, 2, 3):
        frames, length = encoder_out[row : row + 1, : lens[row]], lens[row : row + 1]
        alone = joint_search(model, frames, length, options, fused(lm, 0.2))
        assert [h.tokens for h in together[row]] == [h.tokens for h in alone[0]]
        assert [h.score for h in together[row]] == pytest.approx([h.score for h in alone[0]], abs=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("ctc_weight", [0.0, 0.5, 1.0])
def test_scores_that_are_not_numbers_are_not_an_empty_text(model, ctc_weight):
    """No hypothesis was kept, and the utterance counted as silence with a score of 0."""
    encoder_out = torch.randn(2, 9, WIDTH)
    encoder_out[1] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        joint_search(model, encoder_out, torch.tensor([9, 9]), BeamOptions(3, ctc_weight))


@torch.inference_mode()
def test_scores_are_the_weighted_sum_of_their_parts(model, lm):
    torch.manual_seed(9)
    options = BeamOptions(4, 0.4, 0.5)
    found = joint_search(model, torch.randn(1, 9, WIDTH), torch.tensor([9]), options, fused(lm, 0.3))[0]
    assert found[0].score > -1e3
    weights = {"decoder": 0.6, "ctc": 0.4, "length_bonus": 0.5, "lm": 0.3}
    for hyp in (h for h in found if h.score > -1e3):  # not those that CTC calls impossible
        assert hyp.score == pytest.approx(sum(weights[name] * part for name, part in hyp.scores.items()), abs=1e-3)
        assert hyp.tokens[0] == 1 and hyp.tokens[-1] == 2


@torch.inference_mode()
def test_minlenratio_keeps_short_texts_out(model):
    torch.manual_seed(10)
    found = joint_search(model, torch.randn(1, 10, WIDTH), torch.tensor([10]), BeamOptions(6))[0]
    kept = BeamOptions(6, minlenratio=0.5).long_enough(found, 10)
    assert min(h.n_tokens for h in found) < 5
    assert kept == [h for h in found if h.n_tokens >= 5] != []
    assert BeamOptions(6, minlenratio=3.0).long_enough(found, 10) == found  # rather too short than nothing


def test_a_forced_end_does_not_count_as_a_token():
    assert BeamHypothesis([1, 5, 6, 2], 0.0).n_tokens == 2
    assert BeamHypothesis([1, 5, 6, 2, 2], 0.0).n_tokens == 2
    assert BeamHypothesis([1, 2], 0.0).n_tokens == 0


@torch.inference_mode()
def test_maxlenratio_bounds_the_length(model):
    torch.manual_seed(11)
    found = joint_search(model, torch.randn(1, 10, WIDTH), torch.tensor([10]), BeamOptions(6, maxlenratio=0.3))[0]
    assert found and max(h.n_tokens for h in found) == 3


def test_end_is_detected_when_three_lengths_end_far_below_the_best():
    best = BeamHypothesis([1, 3, 2], -1.0)
    poor = [BeamHypothesis([1] * size, -20.0) for size in (5, 6, 7)]
    assert end_detected([best, *poor], 7)
    assert not end_detected([best, *poor[:2]], 7)
    assert not end_detected([best, *poor, BeamHypothesis([1] * 6, -5.0)], 7)
    assert not end_detected([], 7)


def test_paraformer_beam_without_weights_is_the_arg_max():
    torch.manual_seed(12)
    log_probs = torch.randn(2, 6, 9)
    log_probs[:, :, 2] = -9.0  # no early end
    log_probs, lens = log_probs.log_softmax(-1), torch.tensor([6, 4])
    found = paraformer_beam_search(log_probs, lens, BeamOptions(3))
    for row, size in enumerate(lens.tolist()):
        best = log_probs[row, :size].max(-1)
        assert found[row][0].tokens == [1, *best.indices.tolist(), 2]
        assert found[row][0].score == pytest.approx(float(best.values.sum()), abs=1e-4)


class LovesTheEnd:
    """A language model to which every token but the end of the text is unlikely."""

    def start(self, batch, device):
        return [torch.zeros(batch, 1, device=device)]

    def step(self, tokens, state):
        scores = torch.full((*tokens.shape, VOCAB), -9.0)
        scores[..., 2] = -0.1
        return scores, state


@torch.inference_mode()
@pytest.mark.parametrize("nbest_beam", [1, 3, 10])
def test_a_language_model_without_ctc_never_ends_far_before_the_predicted_length(nbest_beam):
    torch.manual_seed(12)
    log_probs, lens = torch.randn(4, 10, VOCAB).log_softmax(-1), torch.tensor([10, 7, 2, 1])
    loves_the_end = [LMScorer(LovesTheEnd(), 2.0, torch.device("cpu"))]
    found = paraformer_beam_search(log_probs, lens, BeamOptions(nbest_beam), loves_the_end)
    assert all(hyps for hyps in found)
    for hyps, length in zip(found, lens.tolist()):
        tokens = length - 1  # the last position is that of the end
        assert min(hyp.n_tokens for hyp in hyps) >= max(min(tokens, 1), int(0.9 * tokens))
    early = paraformer_beam_search(log_probs, lens, BeamOptions(nbest_beam, minlenratio=0.01), loves_the_end)
    assert early[0][0].n_tokens == 0  # what the scores alone prefer
    longest = paraformer_beam_search(log_probs, lens, BeamOptions(nbest_beam, minlenratio=1.0), loves_the_end)
    assert {hyp.n_tokens for hyp in longest[0]} <= {9, 10}
