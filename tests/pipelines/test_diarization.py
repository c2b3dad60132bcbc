"""``Tasks.speaker_diarization``: a VAD and a speaker model on a recording."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.audio.io import read_audio
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.pipelines import Tasks, pipeline
from funrecipe.score.rttm import read_rttm
from funrecipe.speaker.diarization import cut_segments, diarize
from funrecipe.speaker.embedding import load_speaker_model
from funrecipe.vad.detector import load_detector

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests/data/vad/vad_example.flac"
MODEL, VAD = ROOT / "tests/data/parity/campplus", ROOT / "egs/quickstart/vad"


@pytest.fixture(scope="module")
def find():
    return pipeline(task=Tasks.speaker_diarization, model=MODEL, vad_model=VAD, ngpu=0)


@pytest.fixture(scope="module")
def waveform():
    return read_audio(RECORDING, sample_rate_hz=16000, end_s=25.0)


def test_a_recording_has_the_turns_of_the_library(find, waveform):
    segments_ms = load_detector(open_model_folder(VAD)).segments(waveform)
    expected = diarize(load_speaker_model(open_model_folder(MODEL)), cut_segments(waveform, segments_ms, 16000), 2)
    found = find(audio_in=waveform, param_dict={"n_speakers": 2})
    assert found["key"] == "utt_id"
    assert found["text"] == [[turn.start_s, turn.end_s, turn.speaker] for turn in expected.turns]
    assert {speaker for *_, speaker in found["text"]} == {0, 1}


def test_silence_has_no_turns(find):
    assert find(audio_in=np.zeros(32000, np.float32))["text"] == []


def test_a_list_writes_an_rttm(find, waveform, tmp_path):
    (waveform[:160000] * 32767).astype(np.int16).tofile(tmp_path / "b.pcm")
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/missing.wav\nb {tmp_path}/b.pcm\n")
    bad, good = find(audio_in=str(tmp_path / "wav.scp"), output_dir=tmp_path / "out")
    assert bad["text"] == [] and "No such file" in bad["error"]
    turns = read_rttm(tmp_path / "out/rttm")["b"]
    assert [[turn.start_s, pytest.approx(turn.end_s), int(turn.speaker)] for turn in turns] == good["text"]
    assert (tmp_path / "out/failed.scp").read_text().startswith("a\t")


def test_what_is_missing_or_unknown_is_named(find, tmp_path):
    with pytest.raises(UsageError, match="diarization needs a VAD model"):
        pipeline(task=Tasks.speaker_diarization, model=MODEL)
    with pytest.raises(UsageError, match="unknown key 'n_speaker'"):
        find(audio_in=np.zeros(16000, np.float32), param_dict={"n_speaker": 2})
    with pytest.raises(UsageError, match="n_speakers is 0"):
        find(audio_in=np.zeros(16000, np.float32), param_dict={"oracle_num": 0})
    with pytest.raises(DataError, match="No such file"):
        find(audio_in=str(tmp_path / "none.wav"))
