"""CTC prefix scores and searches against sums over every path of a small lattice."""

import itertools
import math
from collections import defaultdict

import pytest
import torch

from funrecipe.decode.beam_search import BeamOptions, JointBeamSearch
from funrecipe.decode.ctc_prefix import CTCPrefixScorer, greedy_search, prefix_beam_search
from funrecipe.decode.scorers import AcousticScorer

EOS = 2


def text_of(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def all_texts(log_probs):
    """Probability of every text, by enumeration of the V ** T paths."""
    texts = defaultdict(float)
    frames, vocab = log_probs.shape
    for path in itertools.product(range(vocab), repeat=frames):
        texts[text_of(path)] += math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
    return texts


@pytest.fixture(scope="module")
def lattice():
    torch.manual_seed(3)
    log_probs = torch.randn(2, 5, 4).mul(2).log_softmax(-1)
    lens = torch.tensor([5, 3])
    return log_probs, lens, [all_texts(row[:frames]) for row, frames in zip(log_probs, lens.tolist())]


@pytest.mark.parametrize("whole_vocabulary", [False, True])
def test_prefix_scores_are_sums_over_all_texts(lattice, whole_vocabulary):
    log_probs, lens, texts = lattice
    scorer = CTCPrefixScorer(log_probs, lens)
    everything = torch.arange(4).expand(2, 1, 4)
    for prefix in [(), (1,), (3,), (1, 1), (1, 3), (3, 1, 3)]:
        state = scorer.start()
        for token in prefix:
            tokens = torch.full((2, 1), token)
            added = scorer.score(state, tokens.unsqueeze(2)).squeeze(2)
            state = scorer.extend(state, torch.arange(2), torch.zeros(2, 1, dtype=torch.long), tokens, added)
        added = scorer.score(state, None if whole_vocabulary else everything)
        for row in range(2):
            beginning = sum(p for text, p in texts[row].items() if text[: len(prefix)] == prefix)
            if beginning == 0:
                assert state.prefix_score[row, 0] < -1e9
                continue
            assert state.prefix_score[row, 0].exp().item() == pytest.approx(beginning, rel=1e-6)
            for token in (1, 3):
                longer = sum(p for text, p in texts[row].items() if text[: len(prefix) + 1] == (*prefix, token))
                assert (state.prefix_score + added[..., token])[row, 0].exp().item() == pytest.approx(longer, rel=1e-6)
            ended = (state.prefix_score + added[..., EOS])[row, 0].exp().item()
            assert ended == pytest.approx(texts[row].get(prefix, 0.0), rel=1e-6)


def test_a_wide_prefix_beam_finds_the_most_probable_text_and_its_probability(lattice):
    log_probs, lens, texts = lattice
    for row, frames in enumerate(lens.tolist()):
        found = prefix_beam_search(log_probs[row, :frames], 500)
        best = max(texts[row], key=texts[row].get)
        assert tuple(found[0][0]) == best
        assert {tuple(ids): math.exp(score) for ids, score in found} == pytest.approx(dict(texts[row]), rel=1e-6)


def test_greedy_merges_repetitions_and_drops_blanks():
    ids = torch.tensor([[1, 1, 0, 1, 3, 3, 0, 2], [0, 0, 3, 0, 1, 1, 1, 1]])
    log_probs = torch.full((2, 8, 4), -3.0).scatter(2, ids.unsqueeze(2), -0.5)
    assert greedy_search(log_probs, torch.tensor([8, 4])) == [([1, 1, 3, 2], -4.0), ([3], -2.0)]


def test_no_frames_give_no_tokens():
    log_probs = torch.zeros(1, 4, 3)
    assert greedy_search(log_probs, torch.tensor([0])) == [([], 0.0)]
    assert prefix_beam_search(log_probs[0, :0], 3) == [([], 0.0)]


def test_a_beam_wider_than_the_vocabulary_finds_the_most_probable_text(lattice):
    """Among others, the empty token must not be taken for one: what follows it would bring its cost back."""
    log_probs, lens, texts = lattice
    search = JointBeamSearch(
        [], CTCPrefixScorer(log_probs, lens), BeamOptions(1000, 1.0, maxlenratio=1.0), vocab_size=4
    )
    for nbest, exact in zip(search.run(lens.tolist(), log_probs.device), texts):
        exact = {text: p for text, p in exact.items() if EOS not in text}
        best = max(exact, key=exact.get)
        assert tuple(i for i in nbest[0].tokens[1:] if i != EOS) == best
        assert math.exp(nbest[0].score) == pytest.approx(exact[best], rel=1e-5)


def test_a_beam_of_one_passes_over_a_blank_that_the_decoder_likes(lattice):
    log_probs, lens, _ = lattice
    likes_blank = torch.tensor([0.9, 0.05, 0.02, 0.03]).log().expand(2, 5, 4)
    scorer = CTCPrefixScorer(log_probs, lens)
    search = JointBeamSearch([AcousticScorer(likes_blank)], scorer, BeamOptions(1, 0.3), vocab_size=4)
    for nbest in search.run([2, 2], log_probs.device):
        assert len(nbest) == 1 and 0 not in nbest[0].tokens and nbest[0].score > -100


def plain_score(log_probs, non_blank, blank, last, prefix_score):
    """Equations of algorithm 2, a loop over frames: what each token of a long utterance adds to one prefix."""
    before_any, before_blank = [-math.inf], [-math.inf]
    for ends, waits in zip(non_blank[:-1], blank[:-1]):
        before_any.append(float(torch.logaddexp(ends, waits)))
        before_blank.append(float(waits))
    scores = []
    for token in range(log_probs.size(1)):
        arrival = before_blank if token == last else before_any
        terms = torch.tensor(arrival, dtype=torch.double) + log_probs[:, token].double()
        scores.append(float(terms.logsumexp(0)) - prefix_score)
    scores[0], scores[EOS] = -math.inf, float(torch.logaddexp(non_blank[-1], blank[-1])) - prefix_score
    return scores


def test_scores_over_the_frames_in_reach_are_those_over_all_frames():
    torch.manual_seed(5)
    frames, vocab = 300, 12
    logits = torch.randn(2, frames, vocab)
    logits[:, :, 0] += 25.0
    spoken = torch.arange(5, frames, 9)
    logits[:, spoken, torch.randint(3, vocab, (len(spoken),))] += 50.0
    log_probs = logits.log_softmax(-1)
    scorer = CTCPrefixScorer(log_probs, torch.tensor([frames, frames]))
    second = scorer.rows(torch.tensor([1]))
    state, row = second.start(), torch.tensor([0])
    for step in range(20):
        added = second.score(state, None)
        best = added[..., 3:].argmax(-1) + 3
        if step:
            wanted = plain_score(
                log_probs[1],
                state.non_blank[0, 0],
                state.blank[0, 0],
                int(state.last[0, 0]),
                float(state.prefix_score[0, 0]),
            )
            assert added[0, 0].tolist() == pytest.approx(wanted, rel=1e-9)
        everything = torch.arange(vocab).expand(1, 1, -1)
        assert added[0, 0].tolist() == pytest.approx(second.score(state, everything)[0, 0].tolist(), rel=1e-9)
        state = second.extend(state, row, row.unsqueeze(1), best, added.gather(-1, best.unsqueeze(-1)).squeeze(-1))
    weight = (state.arrivals[0] - state.arrivals[0].amax()).exp()
    assert int((weight > 1e-40).sum()) < frames / 2  # some frames are out of reach, or the test would show nothing
