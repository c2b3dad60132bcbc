"""Recognition with a VAD and punctuation: recordings of any length, as ModelScope's users call the chain."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.errors import DataError, UsageError
from funrecipe.pipelines import Tasks, pipeline

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
SPOKEN = [str(path) for path in sorted((QUICKSTART / "data" / "wav").glob("*.flac"))[:2]]
PUNCTUATION = ROOT / "tests" / "data" / "parity" / "punc_ct_transformer"
SPEAKER = str(ROOT / "tests" / "data" / "parity" / "campplus")
ASR = Tasks.auto_speech_recognition


@pytest.fixture(scope="module")
def transcribe():
    models = {"vad_model": str(QUICKSTART / "vad"), "punc_model": str(PUNCTUATION)}
    return pipeline(task=ASR, model=QUICKSTART / "model", ngpu=0, **models)


@pytest.fixture(scope="module")
def recording():
    silence = np.zeros(24000, np.int16)
    parts = [soundfile.read(path, dtype="int16")[0] for path in SPOKEN]
    return np.concatenate([silence, parts[0], silence, parts[1], silence])


def test_a_recording_has_text_sentences_and_times(transcribe, recording):
    result = transcribe(audio_in=recording)
    assert result["key"] == "utt_id" and result["text"][-1] in "。？.?"
    assert sum(len(sentence["timestamp"]) for sentence in result["sentences"]) == len(result["timestamp"])
    starts = [start for start, _ in result["timestamp"]]
    assert starts == sorted(starts) and starts[0] > 1400 and result["timestamp"][-1][1] < len(recording) / 16
    assert [sentence["start"] for sentence in result["sentences"]] == sorted(s["start"] for s in result["sentences"])


def test_results_are_written_as_of_utterances(transcribe, recording, tmp_path):
    results = transcribe(audio_in=[recording, "missing.wav"], output_dir=tmp_path)
    folder = tmp_path / "1best_recog"
    assert (folder / "text_with_punc").read_text() == f"utt_id {results[0]['text']}\n"
    assert (folder / "timestamp").read_text() == f"utt_id {results[0]['timestamp']}\n"
    assert len((folder / "text").read_text().split()) == 1 + len(results[0]["timestamp"])
    assert (tmp_path / "failed.scp").read_text().startswith("missing\tmissing.wav\t")


def test_options_of_a_call_are_refused(transcribe, recording):
    assert transcribe(audio_in=recording[:100], param_dict={})["text"] == ""
    with pytest.raises(UsageError, match="options of recordings are those of the pipeline"):
        transcribe(audio_in=recording, param_dict={"beam_size": 5})


@pytest.mark.parametrize("mode", ["paraformer", "paraformer_vad_punc"])
def test_modes_of_the_recognizer_with_its_companions(mode):
    pipeline(task=ASR, model=QUICKSTART / "model", ngpu=0, vad_model=str(QUICKSTART / "vad"), mode=mode)


def test_lists_and_files(transcribe, recording, tmp_path):
    soundfile.write(tmp_path / "a.wav", recording, 16000)
    (tmp_path / "wav.scp").write_text(f"x {tmp_path}/a.wav\ny {tmp_path}/missing.wav\n")
    models = {"vad_model": str(QUICKSTART / "vad"), "formats": "srt", "output_dir": tmp_path / "out"}
    to_files = pipeline(task=ASR, model=QUICKSTART / "model", ngpu=0, **models)
    results = to_files(audio_in=str(tmp_path / "wav.scp"))
    assert [result["key"] for result in results] == ["x", "y"]
    assert "No such file" in results[1]["error"]
    assert (tmp_path / "out" / "x.srt").read_text().startswith("1\n00:00:0")
    assert transcribe(audio_in=str(tmp_path / "a.wav"))["timestamp"] == transcribe(audio_in=recording)["timestamp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": "srt"}, "formats need an output_dir"),
        ({"formats": "doc"}, "unknown format 'doc'"),
        ({"formats": ["srt", "doc"]}, "unknown format 'doc'"),
        ({"text_rules": "3", "punc_model": str(PUNCTUATION)}, "unknown text rules"),
        ({"text_rules": "0.8"}, "text_rules has no effect without punc_model"),
        ({"punc_model_revision": "v1"}, "punc_model_revision has no effect without punc_model"),
        ({"mode": "uniasr"}, "has no mode 'uniasr'"),
        ({"beam": 3}, "unknown key 'beam'"),
        ({"weights": "x.pb"}, "weights cannot be given"),
        ({"n_speakers": 0, "spk_model": SPEAKER}, "n_speakers is 0"),
        ({"n_speakers": "2", "spk_model": SPEAKER}, "n_speakers is '2'"),
        ({"n_speakers": 2}, "n_speakers has no effect without spk_model"),
        ({"merge_length_s": 20}, "merge_length_s has no effect without merge_vad"),
        ({"merge_vad": True, "merge_length_s": -1}, "merge_length_s is -1"),
        ({"merge_vad": "yes"}, "merge_vad is 'yes'"),
    ],
    ids=str,
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        pipeline(task=ASR, model=QUICKSTART / "model", ngpu=0, vad_model=str(QUICKSTART / "vad"), **options)


def test_a_single_recording_that_cannot_be_read_is_an_error(transcribe):
    with pytest.raises(DataError, match="No such file"):
        transcribe(audio_in="missing.wav")


@pytest.mark.parametrize("name", ["vad_model", "punc_model"])
def test_another_revision_of_a_companion_than_asked_for_is_refused(name, tmp_path):
    source = {"vad_model": QUICKSTART / "vad", "punc_model": PUNCTUATION}[name]
    shutil.copytree(source, tmp_path / "model")
    (tmp_path / "model" / ".mv").write_text("Revision:v2.0.4,CreatedAt:1700000000")
    models = {"model": QUICKSTART / "model", name: str(tmp_path / "model")}
    pipeline(task=ASR, ngpu=0, **models, **{f"{name}_revision": "v2.0.4"})
    with pytest.raises(UsageError, match="revision 'v1.0.0' was asked for, revision 'v2.0.4' is on disk"):
        pipeline(task=ASR, ngpu=0, **models, **{f"{name}_revision": "v1.0.0"})


def test_merged_segments_are_recognized_together(recording):
    models = {"model": QUICKSTART / "model", "vad_model": str(QUICKSTART / "vad")}
    merged = pipeline(task=ASR, ngpu=0, **models, merge_vad=True, merge_length_s=30)(audio_in=recording)
    apart = pipeline(task=ASR, ngpu=0, **models)(audio_in=recording)
    assert [len(result["sentences"]) for result in (merged, apart)] == [1, 2]
