"""UniASR: searches of FunASR 0.8.8 in every mode, batches, and the errors of wrong modes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.uniasr import decoding_mode
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from tools.parity.case import Case

FOLDER = Path(__file__).parents[1] / "data" / "parity" / "uniasr"


@pytest.fixture(scope="module")
def case():
    return Case(FOLDER, FOLDER.parent)


def recognizer_of(**options):
    return load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(**options))


@pytest.mark.parametrize("mode", ["fast", "normal", "offline"])
@pytest.mark.parametrize(("beam_size", "relax"), [(1, 1), (3, 1), (5, 1), (5, 5)])
def test_search_equals_funasr(case, mode, beam_size, relax):
    search = recognizer_of(decoding_mode=mode, beam_size=beam_size, token_num_relax=relax, nbest=3).search
    with torch.inference_mode():
        nbests = search.decode(torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"]))
    name = f"search.{mode}.beam{beam_size}" + (f"_relax{relax}" if relax != 1 else "")
    for u, nbest in enumerate(nbests):
        scores = case.expected[f"{name}.u{u}.nbest_score"]
        assert nbest[0].ids == case.expected[f"{name}.u{u}.text_ids"].tolist()
        np.testing.assert_allclose([hyp.score for hyp in nbest], scores, atol=1e-3)


@pytest.mark.parametrize("mode", ["fast", "normal", "offline"])
def test_batch_equals_alone(case, mode):
    recognizer = recognizer_of(decoding_mode=mode, nbest=2)
    waves = [case.waveform("wav0"), case.waveform("wav1")[:8000], case.waveform("wav1"), np.zeros(10, np.float32)]
    together = recognizer.transcribe_nbest(waves)
    for wave, nbest in zip(waves, together):
        (alone,) = recognizer.transcribe_nbest([wave])
        assert [hyp.tokens for hyp in alone] == [hyp.tokens for hyp in nbest]
        np.testing.assert_allclose([hyp.score for hyp in alone], [hyp.score for hyp in nbest], atol=1e-3)
    assert together[3][0].text == ""


@pytest.mark.parametrize("samples", [400, 500, 900, 1500])
@pytest.mark.parametrize("mode", ["fast", "normal", "offline"])
def test_very_short_audio(case, mode, samples):
    (hypothesis,) = recognizer_of(decoding_mode=mode).transcribe([case.waveform("wav0")[:samples]])
    assert isinstance(hypothesis.text, str)


def test_garbage_is_not_in_the_result(case):
    """beam3 of utterance 0 in mode fast holds <gbg> once in FunASR's token_int."""
    assert (
        len(case.expected["search.fast.beam3.u0.token_int"]) == len(case.expected["search.fast.beam3.u0.text_ids"]) + 1
    )
    lens = torch.from_numpy(case.inputs["feats_lens"])[:1]
    feats = torch.from_numpy(case.inputs["feats"])[:1]
    recognizer = recognizer_of(decoding_mode="fast", beam_size=3)
    with torch.inference_mode():
        ((hypothesis,),) = recognizer.search.decode(feats, lens)
    assert "<gbg>" not in recognizer.to_hypothesis(hypothesis).tokens


@pytest.mark.parametrize(
    ("mode", "shape_index", "expected"),
    [
        (None, None, (0, 2)),
        ("fast", None, (0, 1)),
        ("normal", 1, (0, 2)),
        ("offline", None, (1, 2)),
        ("model1", 1, (1, 1)),
        ("model2", None, (0, 2)),
        (None, 1, (1, 2)),
    ],
)
def test_modes(mode, shape_index, expected):
    assert decoding_mode(mode, shape_index) == expected


@pytest.mark.parametrize("mode", ["Fast", "2pass", "online"])
def test_wrong_mode_lists_the_modes(mode):
    with pytest.raises(UsageError, match="fast, normal, offline"):
        recognizer_of(decoding_mode=mode)


def test_options_without_effect_are_refused():
    with pytest.raises(UsageError, match="maxlenratio"):
        recognizer_of(maxlenratio=0.5)
