"""Released weights on the model card's recording, streams, and what a detector refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from funrecipe.audio.io import read_audio
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.vad.detector import join_events, load_detector

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "egs" / "quickstart" / "vad"
TINY = ROOT / "tests" / "data" / "parity" / "fsmn_vad"
# The list on the card of the model on ModelScope.
MODEL_CARD = [
    *([70, 2340], [2620, 6200], [6480, 23670], [23950, 26250], [26780, 28990], [29950, 31430]),
    *([31750, 37600], [38210, 46900], [47310, 49630], [49910, 56460], [56740, 59540], [59820, 70450]),
]


@pytest.fixture(scope="module")
def detector():
    return load_detector(open_model_folder(RELEASED))


@pytest.fixture(scope="module")
def recording():
    return read_audio(ROOT / "tests" / "data" / "vad" / "vad_example.flac", sample_rate_hz=16000)


def stream(detector, waveform, sizes):
    """Events of ``waveform`` in pieces whose sizes repeat."""
    state, events, start, number = detector.start(), [], 0, 0
    while start < len(waveform):
        size = sizes[number % len(sizes)]
        events.append(detector.feed(waveform[start : start + size], state, is_final=start + size >= len(waveform)))
        start, number = start + size, number + 1
    return events


def test_the_released_model_gives_the_segments_of_its_card(detector, recording):
    assert detector.segments(recording) == MODEL_CARD


@pytest.mark.parametrize("sizes", [[3200], [1600, 137, 48000], [400_000]], ids=str)
def test_a_stream_in_pieces_of_any_size_gives_the_same_segments(detector, recording, sizes):
    events = stream(detector, recording, sizes)
    assert join_events(event for piece in events for event in piece) == MODEL_CARD


def test_a_boundary_is_reported_as_soon_as_it_is_known(detector, recording):
    events = stream(detector, recording[:160_000], [3200])
    found = [(step, *event) for step, piece in enumerate(events) for event in piece]
    assert found == [  # FunASR 0.8.8 on the same pieces of 200 ms
        *((2, 70, -1), (14, -1, 2340), (15, 2620, -1), (33, -1, 6200), (34, 6480, -1), (49, -1, 9980)),
    ]


def test_a_final_piece_without_samples_closes_the_open_segment(detector, recording):
    state = detector.start()
    assert detector.feed(recording[:16000], state) == [[70, -1]]
    ((start, end),) = detector.feed(recording[:0], state, is_final=True)
    assert (start, end) == (-1, 980)  # 98 whole frames of 25 ms fit into a second


def test_streams_do_not_disturb_each_other(detector, recording):
    ours, others, events = detector.start(), detector.start(), []
    for start in range(0, 48000, 3200):
        events.append(detector.feed(recording[start : start + 3200], ours))
        detector.feed(recording[80_000 + start : 83_200 + start], others)
    assert events == stream(detector, recording, [3200])[:15]


@pytest.mark.parametrize("length", [0, 1, 399, 400, 1600])
def test_too_little_audio_has_no_segments(detector, length):
    assert detector.segments(np.full(length, 0.1, np.float32)) == []


def test_silence_has_no_segments(detector):
    assert detector.segments(np.zeros(32000, np.float32)) == []


def test_options_of_a_call_hold_for_that_call(detector, recording):
    part = recording[:160_000]
    cut = detector.segments(part, detector.options.over({"max_single_segment_time": 1000}))
    assert max(end - start for start, end in cut) == 1010
    assert detector.segments(part)[:2] == MODEL_CARD[:2]


def test_weights_with_and_without_the_prefix_are_the_same_model(tmp_path, detector, recording):
    shutil.copytree(RELEASED, tmp_path / "vad")
    state = torch.load(RELEASED / "vad.pb", weights_only=True)
    bare = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
    prefixed = {f"encoder.{name}": tensor for name, tensor in bare.items()}
    for names in (bare, prefixed):
        torch.save(names, tmp_path / "vad" / "vad.pb")
        loaded = load_detector(open_model_folder(tmp_path / "vad"))
        assert loaded.segments(recording[:160_000]) == [[70, 2340], [2620, 6200], [6480, 9980]]


def test_a_folder_of_funasr_1x_is_the_same_model(tmp_path, recording):
    config = yaml.safe_load((RELEASED / "vad.yaml").read_text())
    one_x = {
        "model": "FsmnVADStreaming",
        "model_conf": config["vad_post_conf"],
        "encoder": "FSMN",
        "encoder_conf": config["encoder_conf"],
        "frontend": "WavFrontendOnline",
        "frontend_conf": config["frontend_conf"],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(one_x))
    shutil.copy(RELEASED / "vad.pb", tmp_path / "model.pt")
    shutil.copy(RELEASED / "vad.mvn", tmp_path / "am.mvn")
    loaded = load_detector(open_model_folder(tmp_path))
    assert loaded.segments(recording[:160_000]) == [[70, 2340], [2620, 6200], [6480, 9980]]


def test_a_recognizer_is_refused():
    with pytest.raises(UsageError, match="family 'paraformer' does not detect voice activity"):
        load_detector(open_model_folder(ROOT / "egs" / "quickstart" / "model"))


def test_weights_of_another_model_are_refused(tmp_path):
    shutil.copytree(TINY, tmp_path / "vad")
    shutil.copy(RELEASED / "vad.pb", tmp_path / "vad" / "vad.pb")
    with pytest.raises(DataError, match="the weights do not fit"):
        load_detector(open_model_folder(tmp_path / "vad"))


def test_a_silence_class_that_the_network_does_not_have_is_refused():
    with pytest.raises(UsageError, match="give classes from 0 to 247"):
        load_detector(open_model_folder(RELEASED), options={"sil_pdf_ids": [248]})
