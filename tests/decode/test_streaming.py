"""Streaming Paraformer: FunASR's texts call by call, and the same text however the audio is cut."""

import copy
import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_model
from funrecipe.decode.streaming import (
    StreamOptions,
    load_streaming_recognizer,
    make_streaming_recognizer,
    streaming_text,
)
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.packed import cpu_precisions
from funrecipe.text.postprocess import postprocess

PARITY = Path(__file__).parents[1] / "data" / "parity"
FOLDER = PARITY / "paraformer_online"
RUNS = yaml.safe_load((FOLDER / "runs.yaml").read_text())
TEXTS = json.loads((FOLDER / "texts.json").read_text())
WAVES = {
    key[3:]: array.astype(np.float32) / 32768 for key, array in np.load(FOLDER / "io.npz").items() if "wave_" in key
}


@pytest.fixture(scope="module")
def recognizer():
    return load_streaming_recognizer(open_model_folder(FOLDER))


def options_of(run: str) -> StreamOptions:
    keys = ("chunk_size", "encoder_chunk_look_back", "decoder_chunk_look_back")
    return StreamOptions.from_param_dict({key: RUNS[run][key] for key in keys})


def feed(recognizer, wave, cuts, options=None, cache=None):
    """Updates of a stream cut at ``cuts``; the last piece is final."""
    cache = {} if cache is None else cache
    edges = [0, *sorted(min(cut, len(wave)) for cut in cuts), len(wave)]
    updates = [recognizer.feed(wave[a:b], cache, False, options) for a, b in zip(edges, edges[1:-1])]
    return [*updates, recognizer.feed(wave[edges[-2] :], cache, True, options)]


def text(updates) -> str:
    return "".join(update.text for update in updates)


@pytest.mark.parametrize("run", RUNS)
def test_texts_of_every_call_equal_funasr(recognizer, run):
    wave, stride = WAVES[f"wave_{RUNS[run]['wave']}"], RUNS[run]["samples_per_step"]
    updates = feed(recognizer, wave, range(stride, len(wave), stride), options_of(run))
    assert [update.text for update in updates] == TEXTS[run]


@settings(max_examples=40, deadline=None)
@given(run=st.sampled_from(sorted(RUNS)), cuts=st.lists(st.integers(0, 34000), max_size=25))
def test_any_split_gives_the_same_text(recognizer, run, cuts):
    cache = {}
    updates = feed(recognizer, WAVES[f"wave_{RUNS[run]['wave']}"], cuts, options_of(run), cache)
    assert text(updates) == "".join(TEXTS[run])
    assert updates[-1].total.tokens == [token for update in updates for token in update.tokens]
    assert cache == {}


@settings(max_examples=25, deadline=None)
@given(length=st.integers(0, 25000), cuts=st.lists(st.integers(0, 25000), max_size=10))
def test_any_split_of_any_length(recognizer, length, cuts):
    wave = WAVES["wave_s1"][:length]
    assert text(feed(recognizer, wave, cuts)) == text(feed(recognizer, wave, []))


@pytest.mark.parametrize("look_back", [0, 2])
def test_a_stream_without_left_and_right_context_ends_anywhere(recognizer, look_back):
    """Less than a frame may be left when no frame is kept that could be encoded once more."""
    options = StreamOptions((0, 3, 0), look_back, 0)
    for length in range(9000, 12000, 240):
        wave = WAVES["wave_s1"][:length]
        assert text(feed(recognizer, wave, range(700, length, 700), options)) == text(
            feed(recognizer, wave, [], options)
        )


def test_one_sample_at_a_time(recognizer):
    wave = WAVES["wave_s0"][:20500]
    assert text(feed(recognizer, wave, range(len(wave)))) == text(feed(recognizer, wave, []))


def test_the_end_is_flushed_by_an_empty_final_call(recognizer):
    """Three full steps and an empty final call give what three steps with a final third one give in FunASR."""
    wave = WAVES["wave_s2"]
    assert len(wave) == 3 * 9600
    updates = feed(recognizer, wave, [9600, 19200, 28800], options_of("c5_10_5_exact"))
    assert len(updates) == 4
    assert text(updates) == "".join(TEXTS["c5_10_5_exact"])


def test_nothing_at_all_is_an_empty_hypothesis(recognizer):
    (update,) = feed(recognizer, np.zeros(0, np.float32), [])
    assert (update.text, update.tokens, update.total.text, update.score) == ("", [], "", 0.0)


def test_two_streams_of_one_recognizer_do_not_mix(recognizer):
    streams = {run: [WAVES[f"wave_{RUNS[run]['wave']}"], {}, ""] for run in RUNS}
    for start in range(0, 36000, 1000):
        for run, stream in streams.items():
            wave, cache, _ = stream
            if start < len(wave):
                final = start + 1000 >= len(wave)
                stream[2] += recognizer.feed(wave[start : start + 1000], cache, final, options_of(run)).text
    assert {run: stream[2] for run, stream in streams.items()} == {run: "".join(TEXTS[run]) for run in RUNS}


def test_threads_share_a_recognizer(recognizer):
    results = {}

    def work(run):
        results[run] = text(
            feed(recognizer, WAVES[f"wave_{RUNS[run]['wave']}"], range(700, 30000, 700), options_of(run))
        )

    threads = [threading.Thread(target=work, args=(run,)) for run in RUNS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {run: "".join(TEXTS[run]) for run in RUNS}


def test_a_cache_starts_anew_after_the_final_call(recognizer):
    cache = {}
    first = text(feed(recognizer, WAVES["wave_s0"], [5000], cache=cache))
    assert text(feed(recognizer, WAVES["wave_s0"], [12345], cache=cache)) == first


def test_window_equals_a_window_computed_from_scratch(recognizer):
    """The cached projections of the first block leave the numbers as they are."""
    model = recognizer._model._model
    feats = torch.randn(1, 30, model.encoder.input_size)
    cache = model.stream_start((5, 10, 5))
    with torch.inference_mode():
        for start in (0, 10, 20):
            streamed = model.stream_encode(feats[:, start : start + 10], cache)
        scratch = model.encoder.run_blocks(model.encoder.add_positions(feats)[:, 10:])
    torch.testing.assert_close(streamed, scratch, rtol=0, atol=1e-4)


def test_options_cannot_change_within_a_stream(recognizer):
    cache = {}
    recognizer.feed(np.zeros(960, np.float32), cache, False, StreamOptions((5, 10, 5)))
    recognizer.feed(np.zeros(960, np.float32), cache, False)
    with pytest.raises(UsageError, match="chunk_size changed in the middle of a stream"):
        recognizer.feed(np.zeros(960, np.float32), cache, True, StreamOptions((8, 8, 4)))


def test_a_stream_of_another_recognizer_is_refused(recognizer):
    cache = {}
    recognizer.feed(np.zeros(960, np.float32), cache, False)
    with pytest.raises(UsageError, match="does not belong to a stream of this pipeline"):
        load_streaming_recognizer(open_model_folder(FOLDER)).feed(np.zeros(960, np.float32), cache, False)


def test_a_copy_of_a_cache_goes_its_own_way(recognizer):
    cache, wave = {}, WAVES["wave_s0"]
    begun = recognizer.feed(wave[:15000], cache, False).text
    fork = copy.deepcopy(cache)
    one = recognizer.feed(wave[15000:], cache, True).text
    assert recognizer.feed(wave[15000:], fork, True).text == one
    assert begun + one == "".join(TEXTS["c5_10_5"])


def test_search_options_that_a_stream_ignores_are_refused():
    folder = dataclasses.replace(open_model_folder(FOLDER), decoding={"lm_weight": 0.15, "beam_size": 10})
    with pytest.raises(UsageError, match="lm_weight"):
        load_streaming_recognizer(folder)


def test_a_foreign_cache_is_refused(recognizer):
    with pytest.raises(UsageError, match="start with an empty dict"):
        recognizer.feed(np.zeros(960, np.float32), {"encoder": {}}, False)


@pytest.mark.parametrize(
    ("param_dict", "message"),
    [
        ({"chunk_size": [5, 10]}, "chunk_size is"),
        ({"chunk_size": [5, 0, 5]}, "chunk_size is"),
        ({"chunk_size": 10}, "chunk_size is"),
        ({"chunk_size": "5,10,5"}, "chunk_size is"),
        ({"chunk_size": [5, -1, 5]}, "chunk_size is"),
        ({"encoder_chunk_look_back": "4"}, "encoder_chunk_look_back is"),
        ({"decoder_chunk_look_back": -2}, "decoder_chunk_look_back is"),
        ({"encoder_look_back": 4}, "unexpected keyword argument 'encoder_look_back'"),
    ],
)
def test_wrong_options_are_named(param_dict, message):
    with pytest.raises(UsageError, match=message):
        StreamOptions.from_param_dict(param_dict)


def test_an_offline_model_is_refused():
    with pytest.raises(UsageError, match="whole utterances"):
        load_streaming_recognizer(open_model_folder(PARITY / "uniasr"))


@pytest.mark.parametrize("chunk_size", [(0, 10, 0), (5, 10, 0), (0, 1, 3), (20, 3, 1)])
@pytest.mark.parametrize("look_backs", [(0, 0), (2, 1), (-1, -1)])
def test_odd_windows(recognizer, chunk_size, look_backs):
    options, wave = StreamOptions(chunk_size, *look_backs), WAVES["wave_s1"][:15000]
    whole = feed(recognizer, wave, [], options)
    assert whole[-1].text
    assert text(feed(recognizer, wave, [3000, 3001, 9600, 14999], options)) == text(whole)


def test_streaming_text():
    assert streaming_text(["b", "些", "he@@", "llo", "wor@@", "ld"]) == "b 些hello world "


@pytest.mark.parametrize("spells_spaces", [False, True])
def test_unknown_tokens_have_no_text_in_a_stream_either(spells_spaces):
    tokens = ["你", "<unk>", "好", "<s>"]
    assert streaming_text(tokens, spells_spaces) == "".join(postprocess(tokens).words) == "你好"


@pytest.mark.parametrize("precision", sorted(cpu_precisions()))
def test_every_precision_streams_and_the_pieces_do_not_matter(precision):
    options = DecodeOptions(precision=precision)
    recognizer = load_streaming_recognizer(open_model_folder(FOLDER), options=options)
    wave = WAVES["wave_s1"]
    whole = feed(recognizer, wave, [])
    assert text(whole) != ""
    for cuts in ([100, 9000], range(700, len(wave), 700)):
        pieces = feed(recognizer, wave, cuts)
        assert text(pieces) == text(whole)
        assert pieces[-1].total.score == pytest.approx(whole[-1].total.score, abs=0.02)  # features differ in last bits


def test_a_stream_and_a_model_of_another_precision_are_refused(recognizer):
    folder = open_model_folder(FOLDER)
    model = load_model(folder, device="cpu", precision="fp32")
    with pytest.raises(UsageError, match="loaded in fp32"):
        make_streaming_recognizer(model, folder, options=DecodeOptions(precision="int8"))
