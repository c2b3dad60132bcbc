"""Paraformer-online on whole files, as infer.sh runs it ("paraformer_fake_streaming")."""

from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from tools.parity.case import Case

FOLDER = Path(__file__).parents[1] / "data" / "parity" / "paraformer_online"


@pytest.fixture(scope="module")
def waves():
    case = Case(FOLDER, FOLDER.parent)
    return [case.waveform(key) for key in sorted(case.inputs) if key.startswith("wave_")]


@pytest.mark.parametrize("shape_index", [None, 1])
def test_batch_equals_alone(waves, shape_index):
    recognizer = load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(decoding_ind=shape_index))
    mixed = [waves[0], waves[1][:9000], np.zeros(100, np.float32), waves[2]]
    together = recognizer.transcribe(mixed)
    for wave, hypothesis in zip(mixed, together):
        (alone,) = recognizer.transcribe([wave])
        assert (alone.tokens, alone.text) == (hypothesis.tokens, hypothesis.text)
        assert alone.score == pytest.approx(hypothesis.score, abs=1e-3)
    assert together[2].text == ""
    assert all(together[i].text for i in (0, 1, 3))


@pytest.mark.parametrize("shape_index", [0, 1])
def test_ids_equal_funasr(shape_index):
    case = Case(FOLDER, FOLDER.parent)
    recognizer = load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(decoding_ind=shape_index))
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    with torch.inference_mode():
        nbests = recognizer.search.decode(feats, lens)
    for i, (hypothesis,) in enumerate(nbests):
        expected = case.expected[f"fake.ind{shape_index}.u{i}.argmax_ids"][0].tolist()
        assert hypothesis.ids == [token for token in expected if token not in (0, 2)]


def test_the_best_of_a_beam_is_the_greedy_result(waves):
    """Without a language model the positions are independent, so the beam's best is the best of every position."""
    greedy = load_recognizer(open_model_folder(FOLDER)).transcribe(waves)
    nbests = load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(nbest=3)).transcribe_nbest(waves)
    assert [nbest[0].tokens for nbest in nbests] == [hypothesis.tokens for hypothesis in greedy]
    assert all(len(nbest) == 3 for nbest in nbests)


def test_a_chunk_shape_that_is_not_there():
    with pytest.raises(UsageError, match="has 2 chunk shapes"):
        load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(decoding_ind=2))
