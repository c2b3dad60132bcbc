"""From decisions to segments: FunASR's own state machine is the reference, with random options."""

import json
from pathlib import Path

import numpy as np
import pytest

from funrecipe.errors import UsageError
from funrecipe.vad.options import VadOptions
from funrecipe.vad.segmenter import Boundary, Segmenter

DATA = Path(__file__).parents[1] / "data" / "vad"
CASES = json.loads((DATA / "segments.json").read_text())


def segments_of(decisions, options):
    segmenter = Segmenter(options)
    found = [segmenter.push(decision) for decision in decisions] + [segmenter.finish()]
    times = [boundary.time_ms for boundary in found if boundary]
    assert [boundary.is_start for boundary in found if boundary] == [True, False] * (len(times) // 2)
    return [list(pair) for pair in zip(times[::2], times[1::2], strict=True)]


def decide(speech, options):
    """What the network and the loudness of the frames say, by the rules of docs/vad.md, one frame at a time."""
    noise, decisions = -100.0, []
    silence_share = {0: 0.6, 2: 0.4} if len(options.sil_pdf_ids) == 2 else {0: 1.0}
    samples = np.concatenate((np.repeat(speech, 160) * np.float32(0.1), np.full(240, speech[-1] * np.float32(0.1))))
    for frame, probability in enumerate(speech):
        silence = sum(np.float32((np.float32(1) - probability) * share) for share in silence_share.values())
        energy = np.square(samples[frame * 160 : frame * 160 + 400], dtype=np.float32).sum()
        decibel = 10 * np.log10(float(energy) + 1e-6)
        ratio, threshold = options.speech_2_noise_ratio, options.speech_noise_thres
        sounds = float(np.float32(1) - silence) >= float(silence) ** ratio + threshold
        decisions.append(bool(sounds and decibel - noise >= options.snr_thres and decibel >= options.decibel_thres))
        if not sounds and decibel >= options.decibel_thres:
            count = options.noise_frame_num_used_for_snr
            noise = decibel if noise < -99.9 else (decibel + noise * (count - 1)) / count
    return decisions


@pytest.mark.parametrize("number", range(len(CASES)))
def test_segments_are_those_of_funasr_whatever_the_options(number):
    case = CASES[number]
    with np.load(DATA / "posteriors.npz") as arrays:
        speech = arrays[str(number)]
    options = VadOptions().over(case["options"])
    assert segments_of(decide(speech, options), options) == case["segments"]


def test_a_segment_starts_400_ms_before_and_ends_100_ms_after_the_decision():
    # Speech in frames 100 to 199: 15 of the last 20 frames are speech at frame 114, 20 + 20 frames back is 74.
    # At most 15 are speech again at frame 204; 10 frames of look-ahead and one more, and the segment ends after 215.
    decisions = [False] * 100 + [True] * 100 + [False] * 200
    assert segments_of(decisions, VadOptions()) == [[740, 2160]]


def test_the_end_of_the_recording_ends_a_segment():
    assert segments_of([True] * 50, VadOptions()) == [[0, 500]]


def test_less_speech_than_the_window_wants_is_no_segment():
    assert segments_of([False] * 50 + [True] * 14 + [False] * 100, VadOptions()) == []


def test_a_long_segment_is_cut_and_continued_without_a_gap():
    found = segments_of([True] * 1000, VadOptions(max_single_segment_time=3000))
    assert found[0] == [0, 3010]
    assert all(after[0] == before[1] for before, after in zip(found, found[1:]))
    assert found[-1][1] == 10000


def test_one_utterance_mode_stops_after_the_first():
    decisions = ([False] * 100 + [True] * 100) * 3 + [False] * 100
    assert len(segments_of(decisions, VadOptions())) == 3
    assert len(segments_of(decisions, VadOptions(detect_mode=0))) == 1


def test_one_utterance_mode_gives_up_after_a_long_silence():
    decisions = [False] * 100 + [True] * 100
    assert segments_of(decisions, VadOptions(detect_mode=0, max_start_silence_time=500)) == []
    assert len(segments_of(decisions, VadOptions(detect_mode=0, max_start_silence_time=2000))) == 1


def test_the_start_is_known_with_the_frame_that_decides():
    segmenter = Segmenter(VadOptions())
    found = [segmenter.push(True) for _ in range(15)]
    assert found == [None] * 14 + [Boundary(True, 0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_end_silence": 800}, "did you mean 'max_end_silence_time'?"),
        ({"max_end_silence_time": "800"}, "max_end_silence_time is '800'"),
        ({"max_end_silence_time": -1}, "give an integer of 0 or more"),
        ({"window_size_ms": 0}, "give an integer of 1 or more"),
        ({"sil_pdf_ids": []}, "give a list of class numbers"),
        ({"sil_pdf_ids": [0, 1]}, "silence_pdf_num is 1"),
        ({"detect_mode": 2}, "give an integer from 0 to 1"),
        ({"speech_noise_thres": float("nan")}, "speech_noise_thres is nan"),
    ],
)
def test_wrong_options_are_refused_by_name(values, message):
    with pytest.raises(UsageError) as caught:
        VadOptions().over(values, where="vad.yaml")
    assert message in str(caught.value)
    assert "vad.yaml" in str(caught.value)


def test_settings_without_effect_are_accepted():
    assert VadOptions().over({"snr_mode": 0, "fe_prior_thres": 1e-4}, where="vad.yaml") == VadOptions()
