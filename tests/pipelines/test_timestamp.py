"""``Tasks.speech_timestamp`` as ModelScope's users call it."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.errors import DataError, UsageError
from funrecipe.pipelines import Tasks, pipeline

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "egs" / "quickstart" / "model"
WAV = ROOT / "egs" / "quickstart" / "data" / "wav"
FIRST, SECOND = str(WAV / "BAC009S0150W0014.flac"), str(WAV / "BAC009S0150W0034.flac")
TEXT = "百 盛 天 山 店 a 楼"


@pytest.fixture(scope="module")
def align():
    return pipeline(task=Tasks.speech_timestamp, model=MODEL, ngpu=0)


def test_a_recording_and_its_text(align):
    result = align(audio_in=FIRST, text_in=TEXT)
    assert result["key"] == "BAC009S0150W0014"
    assert len(result["timestamp"]) == 7
    spoken = [part.split()[0] for part in result["text"].split(";") if part and not part.startswith("<sil>")]
    assert spoken == TEXT.split()
    assert "is_estimated" not in result


def test_more_tokens_than_the_audio_can_hold_are_marked(align):
    result = align(audio_in=np.zeros(3200, np.int16), text_in=TEXT)
    assert len(result["timestamp"]) == 7
    assert result["is_estimated"] is True


def test_lists_write_the_original_files(align, tmp_path):
    (tmp_path / "wav.scp").write_text(f"b {FIRST}\na {SECOND}\nc {tmp_path}/missing.wav\n")
    (tmp_path / "text.txt").write_text(f"a 你好\nb {TEXT}\nc 好\n")
    results = align(audio_in=str(tmp_path / "wav.scp"), text_in=tmp_path / "text.txt", output_dir=tmp_path / "out")
    assert [result["key"] for result in results] == ["a", "b", "c"]
    assert "No such file" in results[2]["error"]
    lines = (tmp_path / "out" / "timestamp_prediction" / "tp_time").read_text().splitlines()
    assert lines == [f"{result['key']}# {result['timestamp']}" for result in results[:2]]
    sync = (tmp_path / "out" / "timestamp_prediction" / "tp_sync").read_text()
    assert sync.startswith("a# ") and "\nb# <sil> 0.000 " in sync


def test_a_list_of_audio_and_of_texts(align):
    alone = align(audio_in=FIRST, text_in=TEXT)["timestamp"]
    results = align(audio_in=[FIRST, SECOND, FIRST], text_in=[TEXT, "好", TEXT])
    assert [result["timestamp"] for result in results][::2] == [alone, alone]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"audio_in": FIRST, "text_in": 3}, UsageError, "text_in is 3"),
        ({"audio_in": [FIRST, SECOND], "text_in": [TEXT]}, UsageError, "1 texts for 2 recordings"),
        ({"audio_in": FIRST, "text_in": TEXT, "param_dict": {"beam_size": 2}}, UsageError, "unknown key 'beam_size'"),
        ({"audio_in": "missing.wav", "text_in": TEXT}, DataError, "No such file"),
    ],
    ids=str,
)
def test_wrong_calls(align, call, error, message):
    with pytest.raises(error, match=message):
        align(**call)


def test_recordings_without_a_text_are_named(align, tmp_path):
    (tmp_path / "text.txt").write_text(f"x {TEXT}\ny {TEXT}\n")
    with pytest.raises(DataError, match="no text for 'BAC009S0150W0014'"):
        align(audio_in=FIRST, text_in=tmp_path / "text.txt")


def test_recognition_gives_times_when_asked():
    recognize = pipeline(task=Tasks.auto_speech_recognition, model=MODEL, ngpu=0, timestamp=True)
    result = recognize(audio_in=FIRST)
    assert len(result["timestamp"]) == len(result["tokens"]) > 0
