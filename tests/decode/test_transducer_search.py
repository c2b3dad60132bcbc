"""Transducer searches and streams: exhaustive search, invariance to how the audio is cut, errors."""

import itertools
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.scorers import LMScorer
from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer, make_streaming_recognizer
from funrecipe.decode.transducer_search import TransducerOptions, TransducerSearch
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.lm import LanguageModel, SequentialRNNLM
from funrecipe.models.transducer import JointNetwork, PredictionNetwork, TransducerModel

FOLDER = Path(__file__).parents[1] / "data" / "parity" / "rnnt"
ALGORITHMS = list(TransducerSearch.ALGORITHMS)


def small_model(seed=0, vocab=5):
    torch.manual_seed(seed)
    joint = JointNetwork(vocab, 4, 6, joint_space_size=8)
    torch.nn.init.normal_(joint.lin_out.weight)
    joint.lin_out.bias.data[0] += 1.0
    return TransducerModel(torch.nn.Identity(), PredictionNetwork(vocab, 3, 6), joint).eval().requires_grad_(False)


def text_probabilities(model, frames, most_labels):
    """Probability of every text of up to ``most_labels`` labels, summed over its alignments."""
    texts = defaultdict(float)
    for count in range(most_labels + 1):
        for labels in itertools.product(range(1, model.decoder.vocab_size), repeat=count):
            prediction, _ = model.decoder(torch.tensor([[0, *labels]]))
            log_probs = model.joint_network(frames[:, None], prediction).log_softmax(-1)
            alpha = {(0, 0): 0.0}
            for t in range(len(frames)):
                for u in range(count + 1):
                    ways = [alpha[t - 1, u] + float(log_probs[t - 1, u, 0])] if t else []
                    ways += [alpha[t, u - 1] + float(log_probs[t, u - 1, labels[u - 1]])] if u else []
                    if ways:
                        alpha[t, u] = math.log(sum(map(math.exp, ways)))
            texts[labels] = math.exp(alpha[len(frames) - 1, count] + float(log_probs[-1, count, 0]))
    return texts


@pytest.mark.parametrize("blank", [-1000.0, math.nan])
def test_a_model_that_gives_no_blank_ends_the_search(blank):
    """It would have gone on at the first frame for ever, until it had no memory left."""
    model = small_model()
    model.joint_network.lin_out.bias.data[0] = blank
    with pytest.raises(DataError, match="no end at a frame"):
        search = TransducerSearch(model, TransducerOptions(2))
        search.advance(search.start(), torch.randn(3, 4))


def test_a_wide_time_synchronous_beam_sums_all_alignments():
    model = small_model()
    frames = torch.randn(3, 4)
    search = TransducerSearch(model, TransducerOptions(4, "tsd"))
    wide = TransducerSearch(model, TransducerOptions(200, "tsd"))
    texts = text_probabilities(model, frames, 2)
    found = {hyp.tokens[1:]: hyp.score for hyp in wide.results(wide.advance(wide.start(), frames))}
    for labels, probability in texts.items():  # two labels at most, so three a frame never bind
        assert math.exp(found[labels]) == pytest.approx(probability, rel=1e-4)
    assert search.results(search.advance(search.start(), frames))[0].tokens[1:] == max(texts, key=texts.get)


def test_fusion_adds_the_weighted_score_of_the_text():
    model = small_model(4)
    torch.manual_seed(5)
    lm = LanguageModel(SequentialRNNLM(5, unit=4, nlayers=1), 5).eval()
    frames = torch.randn(3, 4)
    wide = TransducerSearch(model, TransducerOptions(200, "tsd"), [LMScorer(lm.lm, 0.4, torch.device("cpu"))])
    found = {hyp.tokens[1:]: hyp.score for hyp in wide.results(wide.advance(wide.start(), frames))}
    for labels, probability in text_probabilities(model, frames, 2).items():
        language = lm.lm(torch.tensor([[1, *labels]])).detach().log_softmax(-1)[0]
        bonus = 0.4 * sum(float(language[i, label]) for i, label in enumerate(labels))
        assert found[labels] == pytest.approx(math.log(probability) + bonus, abs=1e-3)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_results_are_sorted_and_scores_are_log_probabilities(kind):
    model = small_model(1, vocab=12)
    search = TransducerSearch(model, TransducerOptions(4, kind))
    found = search.results(search.advance(search.start(), torch.randn(6, 4)))
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert all(h.score < 0 and h.tokens[0] == 0 and 0 not in h.tokens[1:] for h in found)


@pytest.mark.parametrize("kind", [k for k in ALGORITHMS if k != "alsd"])
def test_frames_in_pieces_give_what_they_give_at_once(kind):
    model = small_model(2, vocab=12)
    torch.manual_seed(3)
    lm = LanguageModel(SequentialRNNLM(12, unit=5, nlayers=1), 12).eval()
    search = TransducerSearch(model, TransducerOptions(3, kind), [LMScorer(lm.lm, 0.3, torch.device("cpu"))])
    frames = torch.randn(9, 4)
    beam = search.start()
    for piece in frames.split(2):
        beam = search.advance(beam, piece)
    pieces, whole = search.results(beam), search.results(search.advance(search.start(), frames))
    assert [h.tokens for h in pieces] == [h.tokens for h in whole]
    assert [h.score for h in pieces] == pytest.approx([h.score for h in whole], abs=1e-4)


@pytest.fixture(scope="module")
def folder():
    return open_model_folder(FOLDER)


@pytest.fixture(scope="module")
def streamer(folder):
    return load_streaming_recognizer(folder)


@pytest.fixture(scope="module")
def waves():
    with np.load(FOLDER / "io.npz") as arrays:
        return [arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(2)]


def transcript(streamer, pieces, cache=None, options=None):
    """The text of every call joined, and of the whole stream by the last one."""
    cache = {} if cache is None else cache
    texts = [streamer.feed(piece, cache, False, options).text for piece in pieces]
    last = streamer.feed(np.zeros(0, np.float32), cache, True, options)
    assert cache == {}
    return "".join([*texts, last.text]), last.total.text, round(last.total.score, 3)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 27237), max_size=8), chunk=st.sampled_from([None, (8, 4, 0), (8, 4, 2)]))
def test_any_split_of_the_audio_gives_the_same_text(streamer, waves, cuts, chunk):
    options = StreamOptions(chunk_size=chunk)
    pieces = np.split(waves[1], sorted(cuts))
    assert transcript(streamer, pieces, options=options) == transcript(streamer, [waves[1]], options=options)


def test_single_samples_give_the_same_text(streamer, waves):
    wave = waves[1][:3000]
    assert transcript(streamer, np.split(wave, len(wave))) == transcript(streamer, [wave])


def test_two_streams_do_not_mix(streamer, waves):
    alone = [transcript(streamer, [wave]) for wave in waves]
    caches = {}, {}
    texts = ["", ""]
    for start in range(0, 48000, 9600):
        for i, wave in enumerate(waves):
            texts[i] += streamer.feed(wave[start : start + 9600], caches[i], False).text
    for i in range(2):
        last = streamer.feed(np.zeros(0, np.float32), caches[i], True)
        assert (texts[i] + last.text, last.total.text, round(last.total.score, 3)) == alone[i]


def test_the_last_frames_are_not_lost(streamer, waves):
    # 32 frames a chunk here: the score goes on changing with every frame behind the last whole chunk
    scores = {transcript(streamer, [waves[0][: 10240 + 240 + extra]])[2] for extra in (0, 640, 1280, 1920)}
    assert len(scores) == 4


def test_score_of_a_stream_is_that_of_the_golden_search(streamer, waves):
    with np.load(FOLDER / "io.npz") as arrays:
        expected = [float(arrays[f"out.stream.beam5.u{i}.nbest_score"][0]) for i in range(2)]
    options = StreamOptions(chunk_size=(16, 8, 0))
    assert [transcript(streamer, [w], options=options)[2] for w in waves] == pytest.approx(expected, abs=2e-3)


def test_what_a_stream_cannot_do_is_refused(folder, streamer, waves):
    with pytest.raises(UsageError, match="encoder_chunk_look_back"):
        streamer.feed(waves[0], {}, False, StreamOptions(encoder_chunk_look_back=1))
    with pytest.raises(UsageError, match="streaming"):
        make_streaming_recognizer(small_model(), folder)
    alsd = replace(folder, decoding={"search_type": "alsd"})
    with pytest.raises(UsageError, match="alsd"):
        load_streaming_recognizer(alsd)


def test_a_stream_searches_as_decoding_yaml_says(folder, waves):
    greedy = load_streaming_recognizer(replace(folder, decoding={"beam_size": 1}))
    with np.load(FOLDER / "io.npz") as arrays:
        expected = float(arrays["out.stream.beam1.u1.nbest_score"][0])
    score = transcript(greedy, [waves[1]], options=StreamOptions(chunk_size=(16, 8, 0)))[2]
    assert score == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("options", [{}, {"search_type": "maes"}, {"decoding_mode": "simu_chunk", "nbest": 2}])
def test_a_batch_gives_what_each_utterance_gives_alone(folder, waves, options):
    recognizer = load_recognizer(folder, options=DecodeOptions(**options))
    batch = [waves[0], waves[1], waves[0][:7000], np.zeros(100, np.float32)]
    together = recognizer.transcribe(batch)
    alone = [recognizer.transcribe([wave])[0] for wave in batch]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    assert [h.score for h in together] == pytest.approx([h.score for h in alone], abs=1e-3)
    assert together[3].tokens == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ctc_weight": 0.3}, "ctc_weight"),
        ({"penalty": 1.0}, "penalty"),
        ({"search_type": "best"}, "search_type is 'best'"),
        ({"decoding_mode": "fast"}, "decoding_mode 'fast'"),
        ({"lm_weight": 0.2}, "language model"),
    ],
)
def test_options_without_effect_are_refused_by_name(folder, options, named):
    with pytest.raises(UsageError, match=named):
        load_recognizer(folder, options=DecodeOptions(**options))
