"""Recognition with CTC/attention models: batches, modes, options."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def folder():
    return open_model_folder(GOLDEN / "conformer")


@pytest.fixture(scope="module")
def waves():
    with np.load(GOLDEN / "conformer" / "io.npz") as arrays:
        first, second = (arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(2))
    return [first, second, first[:7000], second[:900], np.zeros(100, np.float32)]


def recognizer(folder, **options):
    return load_recognizer(folder, options=DecodeOptions(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 4, "ctc_weight": 0.3, "penalty": 0.2},
        {"beam_size": 3, "lm_weight": 0.3},
        {"decoding_mode": "ctc_greedy"},
        {"decoding_mode": "ctc_prefix", "beam_size": 3},
    ],
)
def test_a_batch_gives_what_each_utterance_gives_alone(folder, waves, options):
    search = recognizer(folder, **options)
    together = search.transcribe(waves)
    alone = [search.transcribe([wave])[0] for wave in waves]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    assert [h.score for h in together] == pytest.approx([h.score for h in alone], abs=1e-3)
    assert together[0].tokens and together[3].tokens == together[4].tokens == []


def test_nbest_is_sorted_and_begins_with_the_best(folder, waves):
    nbest = recognizer(folder, beam_size=5, nbest=3).transcribe_nbest(waves[:2])
    best = recognizer(folder, beam_size=5).transcribe(waves[:2])
    for hyps, first in zip(nbest, best):
        assert len(hyps) == 3
        assert hyps[0].tokens == first.tokens
        assert [h.score for h in hyps] == sorted((h.score for h in hyps), reverse=True)


def test_prefix_search_is_at_least_as_probable_as_the_best_path(folder, waves):
    greedy = recognizer(folder, decoding_mode="ctc_greedy").transcribe(waves[:2])
    beam = recognizer(folder, decoding_mode="ctc_prefix", beam_size=20).transcribe(waves[:2])
    assert all(b.score > g.score for b, g in zip(beam, greedy))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"search_type": "tsd"}, "search_type"),
        ({"hotword": "qq"}, "hotwords"),
        ({"ngram_weight": 0.3}, "n-gram"),
        ({"token_num_relax": 5}, "token_num_relax"),
        ({"ctc_weight": 1.5}, "from 0 to 1"),
        ({"decoding_mode": "ctc_gredy"}, "ctc_gredy"),
        ({"decoding_mode": "ctc_greedy", "lm_weight": 0.1}, "lm_weight"),
        ({"decoding_mode": "ctc_prefix", "penalty": 0.1}, "penalty"),
    ],
)
def test_options_without_effect_are_refused_by_name(folder, options, named):
    with pytest.raises(UsageError, match=named):
        recognizer(folder, **options)


def test_a_weight_for_a_language_model_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="language model"):
        recognizer(open_model_folder(GOLDEN / "transformer"), lm_weight=0.3)
