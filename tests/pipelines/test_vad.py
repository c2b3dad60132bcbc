"""``Tasks.voice_activity_detection`` as ModelScope's users call it."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.audio.io import read_audio
from funrecipe.errors import UsageError
from funrecipe.pipelines import Tasks, pipeline

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "data" / "vad" / "vad_example.flac"
FIRST_10_S = [[70, 2340], [2620, 6200], [6480, 9980]]


@pytest.fixture(scope="module")
def detect():
    return pipeline(task=Tasks.voice_activity_detection, model=ROOT / "egs" / "quickstart" / "vad", ngpu=0)


@pytest.fixture(scope="module")
def samples():
    return (read_audio(RECORDING, sample_rate_hz=16000, end_s=10.0) * 32768).astype(np.int16)


def test_an_array_gives_its_segments(detect, samples):
    assert detect(audio_in=samples) == {"key": "utt_id", "text": FIRST_10_S}


def test_audio_at_another_rate_is_resampled(detect, samples):
    found = detect(audio_in=np.repeat(samples, 3), audio_fs=48000)["text"]
    assert np.abs(np.array(found) - FIRST_10_S).max() <= 20


def test_options_of_a_call(detect, samples):
    result = detect(audio_in=samples, param_dict={"max_single_segment_time": 1000})
    assert max(end - start for start, end in result["text"]) == 1010


@pytest.mark.parametrize("options", [{"sil_pdf_ids": [999]}, {"frame_in_ms": 20}, {"frame_length_ms": 26}], ids=str)
@pytest.mark.parametrize("stream", [{}, {"in_cache": {}}], ids=["whole", "piece"])
def test_options_of_a_call_that_do_not_fit_the_model(detect, samples, options, stream):
    with pytest.raises(UsageError, match=f"{next(iter(options))} is"):
        detect(audio_in=samples, param_dict={**options, **stream})


def test_a_list_writes_the_original_files(detect, samples, tmp_path):
    samples.tofile(tmp_path / "b.pcm")
    (tmp_path / "wav.scp").write_text(f"b {tmp_path}/b.pcm\na {tmp_path}/missing.wav\n")
    results = detect(audio_in=str(tmp_path / "wav.scp"), output_dir=tmp_path / "out")
    assert [result["key"] for result in results] == ["a", "b"]
    assert results[0]["text"] == [] and "No such file" in results[0]["error"]
    assert (tmp_path / "out" / "1best_recog" / "text").read_text() == f"b {FIRST_10_S}\n"
    assert (tmp_path / "out" / "failed.scp").read_text().startswith(f"a\t{tmp_path}/missing.wav\t")


def test_a_stream_by_the_callers_cache(detect, samples):
    param_dict = {"in_cache": {}, "max_end_sil": 800}
    events = []
    for start in range(0, len(samples), 3200):
        param_dict["is_final"] = start + 3200 >= len(samples)
        events += detect(audio_in=samples[start : start + 3200], param_dict=param_dict)["text"]
    assert events == [[70, -1], [-1, 2340], [2620, -1], [-1, 6200], [6480, -1], [-1, 9980]]
    assert param_dict["in_cache"] == {}


def test_a_piece_without_its_cache_is_refused(detect, samples):
    with pytest.raises(UsageError, match="needs its own cache"):
        detect(audio_in=samples[:3200], param_dict={"is_final": False})


@pytest.mark.parametrize("arguments", [{"mode": "paraformer"}, {"param_dict": {"beam_size": 5}}, {"ncpu": 0}], ids=str)
def test_what_a_detector_does_not_have_is_refused(arguments):
    with pytest.raises(UsageError):
        pipeline(task=Tasks.voice_activity_detection, model=ROOT / "egs" / "quickstart" / "vad", **arguments)
