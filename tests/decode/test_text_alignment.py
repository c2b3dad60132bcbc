"""Exactly one time per token: of the fine head as FunASR has it, of CTC by forced alignment, and where both fail."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.audio.io import read_audio
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.text_alignment import load_aligner
from funrecipe.decode.timestamps import align, ctc_spans, rounded_times_ms, token_times_ms
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "parity"
BICIF = GOLDEN / "bicif_paraformer"
QUICKSTART = ROOT / "egs" / "quickstart" / "model"
SPOKEN = ROOT / "egs" / "quickstart" / "data" / "wav" / "BAC009S0150W0014.flac"
TEXT = "百盛天山店A楼"


@pytest.fixture(scope="module")
def predictor_folder(tmp_path_factory):
    """A stand-alone timestamp predictor with the encoder and the head of the golden BiCif Paraformer."""
    folder = tmp_path_factory.mktemp("tp")
    config = yaml.safe_load((BICIF / "config.yaml").read_text())
    parts = ("encoder", "encoder_conf", "predictor", "predictor_conf", "frontend", "frontend_conf", "token_list")
    tp = {"model": "timestamp_prediction", "model_conf": {"predictor_bias": 1}, **{key: config[key] for key in parts}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tp, allow_unicode=True))
    (folder / "am.mvn").write_bytes((BICIF / "am.mvn").read_bytes())
    state = torch.load(BICIF / "model.pb", weights_only=True)
    torch.save({k: v for k, v in state.items() if k.startswith(("encoder.", "predictor."))}, folder / "model.pb")
    return folder


def test_the_timestamp_predictor_gives_the_times_of_funasr(predictor_folder):
    aligner = load_aligner(open_model_folder(predictor_folder))
    expected = json.loads((BICIF / "timestamps.json").read_text())
    with np.load(BICIF / "io.npz") as arrays, torch.inference_mode():
        feats, lens = torch.from_numpy(arrays["in.feats"]), torch.from_numpy(arrays["in.feats_lens"])
    for row in range(2):
        call = expected[f"u{row}.n_minus_1_shift-3_nosil"]
        with torch.inference_mode():
            encoded = aligner.model.encode(feats[row : row + 1, : lens[row]], lens[row : row + 1])
        ((spans, is_estimated),) = aligner._spans(*encoded, [call["chars"]])
        assert token_times_ms(spans) == call["list"]
        assert not is_estimated


@pytest.mark.parametrize("n_tokens", [1, 3, 30, 200])
def test_the_predictor_times_every_token_of_any_text(predictor_folder, n_tokens):
    folder = open_model_folder(predictor_folder)
    words = [token for token in folder.tokens if token.isalnum() and len(token) == 1]
    text = " ".join((words * n_tokens)[:n_tokens])
    with np.load(BICIF / "io.npz") as arrays:
        waves = [arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(2)]
    aligner = load_aligner(folder)
    together = aligner.align(waves, [text, text])
    for wave, found in zip(waves, together):
        assert len(found.times_ms) == n_tokens
        assert [found] == aligner.align([wave], [text])


def test_a_ctc_recognizer_aligns_real_speech():
    aligner = load_aligner(open_model_folder(QUICKSTART))
    wave = read_audio(SPOKEN, sample_rate_hz=16000)
    (found,) = aligner.align([wave], [TEXT])
    assert [*found.tokens] == ["百", "盛", "天", "山", "店", "a", "楼"]
    starts = [start for start, _ in found.times_ms]
    assert starts == sorted(starts)
    # The loud part of this recording: 0.4 to 2.4 s
    assert starts[0] >= 350 and found.times_ms[-1][1] <= 2500
    assert found.as_text().startswith("<sil> 0.000 0.")
    assert not found.is_estimated


def test_too_little_audio_for_a_text_gets_estimated_times():
    aligner = load_aligner(open_model_folder(QUICKSTART))
    wave = read_audio(SPOKEN, sample_rate_hz=16000)
    short, none, empty = aligner.align([wave[:3200], wave[:0], wave], [TEXT, TEXT, ""])
    assert short.times_ms[0][0] == 0 and short.times_ms[-1][1] == 200
    assert len(short.times_ms) == len(none.times_ms) == 7
    assert short.is_estimated and none.is_estimated
    assert (empty.tokens, empty.times_ms, empty.is_estimated) == ([], [], False)


def test_recognition_with_times_has_one_per_token():
    recognizer = load_recognizer(open_model_folder(QUICKSTART), options=DecodeOptions(timestamp=True))
    wave = read_audio(SPOKEN, sample_rate_hz=16000)
    hypotheses = recognizer.transcribe([wave, wave[:8000], np.zeros(16000, np.float32)])
    assert hypotheses[0].tokens
    for hypothesis in hypotheses:
        assert len(hypothesis.timestamp_ms) == len(hypothesis.tokens)


def test_a_conformer_gives_times_too():
    folder = open_model_folder(GOLDEN / "conformer")
    recognizer = load_recognizer(folder, options=DecodeOptions(timestamp=True, beam_size=2))
    (hypothesis,) = recognizer.transcribe([np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)])
    assert len(hypothesis.timestamp_ms) == len(hypothesis.tokens)
    assert all(0 <= start <= end <= 1000 for start, end in hypothesis.timestamp_ms)


def test_models_that_have_no_times_say_so():
    with pytest.raises(UsageError, match="neither a timestamp predictor nor a CTC head"):
        load_aligner(open_model_folder(GOLDEN / "paraformer"))
    with pytest.raises(UsageError, match="has no CTC head to take times from"):
        load_recognizer(open_model_folder(GOLDEN / "paraformer"), options=DecodeOptions(timestamp=True))
    with pytest.raises(UsageError, match="timestamp"):
        load_recognizer(open_model_folder(GOLDEN / "uniasr"), options=DecodeOptions(timestamp=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(1, 2), max_size=4), st.integers(0, 10**6))
def test_ctc_alignment_is_the_best_of_all_paths(frames, ids, seed):
    log_probs = np.random.default_rng(seed).normal(size=(frames, 3))
    log_probs[:, 0] -= 20  # no frame where blank is best: the plain Viterbi path
    spans = ctc_spans(torch.from_numpy(log_probs), ids, 0.06)
    spelled = {path for path in product(range(3), repeat=frames) if collapse(path) == ids}
    if not spelled:
        assert spans is None
        return
    best = max(spelled, key=lambda path: sum(log_probs[t, i] for t, i in enumerate(path)))
    starts = [t for t in range(frames) if best[t] and (t == 0 or best[t] != best[t - 1])]
    assert [start for start, _ in rounded_times_ms(spans)] == [max(60 * t - 30, 0) for t in starts]


def test_ctc_alignment_of_a_long_text():
    ids = [1 + i % 2 for i in range(300)]
    log_probs = torch.full((600, 3), -5.0)
    log_probs[torch.arange(0, 600, 2), torch.tensor(ids)] = 0.0
    times = rounded_times_ms(ctc_spans(log_probs, ids, 0.06))
    assert [start for start, _ in times] == [max(120 * i - 30, 0) for i in range(300)]


def collapse(path):
    return [i for t, i in enumerate(path) if i and (t == 0 or i != path[t - 1])]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 10**6))
def test_the_fine_head_times_every_token_whatever_it_says(steps, n_tokens, seed):
    alphas = torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, steps) ** 4 * (seed % 3))
    spans = align(alphas, alphas.cumsum(0) % 1.2, n_tokens, 0.02)
    assert len(token_times_ms(spans)) == n_tokens
