"""``funrecipe transcribe``, as whisper's users would call it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main
from funrecipe.errors import UsageError
from funrecipe.hub import open_companion

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
WAV = QUICKSTART / "data" / "wav"
FIRST, SECOND = str(WAV / "BAC009S0150W0014.flac"), str(WAV / "BAC009S0150W0034.flac")
PUNCTUATION = str(ROOT / "tests" / "data" / "parity" / "punc_ct_transformer")


def transcribe(*arguments):
    return main(["transcribe", "--ncpu", "1", "--device", "cpu", *map(str, arguments)])


def test_a_file_is_printed(capsys):
    assert transcribe(FIRST) == 0
    out = capsys.readouterr().out
    assert out.strip() and "==" not in out and "\u4e00" <= out[0] <= "\u9fff"


def test_several_files_are_printed_with_their_names(capsys):
    assert transcribe(FIRST, SECOND, "--formats", "srt") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"== {FIRST} ==\n1\n00:00:00,")
    assert f"== {SECOND} ==\n1\n00:00:00," in out


def test_every_format_of_an_mp3_with_punctuation(tmp_path):
    samples, rate_hz = soundfile.read(FIRST)
    talk = tmp_path / "my talk.mp3"
    soundfile.write(talk, np.concatenate([np.zeros(16000), samples, np.zeros(16000), samples]), rate_hz)
    formats = "txt,json,srt,vtt,textgrid,ctm,rttm"
    arguments = ["--output_dir", tmp_path / "out", "--formats", formats, "--punc_model", PUNCTUATION]
    assert transcribe(talk, *arguments) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"my talk{ending}" for ending in (".txt", ".json", ".srt", ".vtt", ".TextGrid", ".ctm", ".rttm")}
    content = json.loads((tmp_path / "out" / "my talk.json").read_text())
    assert len(content["segments"]) == 2 and content["word_times"] == "recognized"
    assert content["text"][-1] in "。？.?"


def test_auto_is_what_the_recognizer_names(tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(QUICKSTART / "model", model)
    configuration = json.loads((model / "configuration.json").read_text())
    named = {"vad_model": "me/vad", "vad_model_revision": "v1.1.8"}
    configuration.setdefault("model", {}).setdefault("model_config", {}).update(named)
    (model / "configuration.json").write_text(json.dumps(configuration))
    shutil.copytree(QUICKSTART / "vad", tmp_path / "models/me/vad")
    monkeypatch.setenv("FUNRECIPE_MODELS", str(tmp_path / "models"))
    assert open_companion("auto", "vad_model", model).path == tmp_path / "models/me/vad"
    assert open_companion(QUICKSTART / "vad", "vad_model", model).path == QUICKSTART / "vad"
    with pytest.raises(UsageError, match="punc_model is auto, but the recognizer names none"):
        open_companion("auto", "punc_model", model)


def test_an_empty_name_is_refused_with_its_place(capsys):
    assert main(["transcribe", "a.wav", ""]) == 2
    assert "the name of a file is empty\n  at: file 2 of 2" in capsys.readouterr().err


def test_without_a_vad_silence_is_left_out(tmp_path, capsys):
    samples, rate_hz = soundfile.read(FIRST)
    first_s, pause_s = len(samples) / rate_hz, 20
    soundfile.write(tmp_path / "a.wav", np.concatenate([samples, np.zeros(pause_s * rate_hz), samples]), rate_hz)
    assert transcribe(tmp_path / "a.wav", "--vad_model", "none", "--max_piece_s", "10", "--formats", "json") == 0
    segments = json.loads(capsys.readouterr().out)["segments"]
    assert sum(segment["end"] - segment["start"] for segment in segments) <= 2 * first_s
    assert not [s for s in segments if s["end"] > first_s + 0.2 and s["start"] < first_s + pause_s - 0.2]
    soundfile.write(tmp_path / "silent.wav", np.zeros(35 * rate_hz), rate_hz)
    for length_s in (10, 40):
        assert transcribe(tmp_path / "silent.wav", "--vad_model", "none", "--max_piece_s", length_s) == 0
    assert capsys.readouterr().out.strip() == ""


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"this is not audio")
    assert transcribe(tmp_path / "bad.wav", FIRST, "--output_dir", tmp_path) == 4
    assert "not audio" in capsys.readouterr().err
    assert (tmp_path / "BAC009S0150W0014.txt").read_text().strip()
    assert not (tmp_path / "bad.txt").exists()
    assert transcribe(tmp_path / "bad.wav") == 3


def test_files_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / Path(FIRST).name
    copy.write_bytes(Path(SECOND).read_bytes())
    assert transcribe(FIRST, copy, "--output_dir", tmp_path / "out") == 0
    texts = [path.read_text() for path in sorted((tmp_path / "out").iterdir())]
    assert len(texts) == 2 and texts[0] != texts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "txt,srt"], "2 formats cannot be printed"),
        (["--formats", "doc"], "unknown format 'doc'"),
        (["--max_piece_s", "1"], "max_piece_s is 1"),
        (["--text_rules", "3"], "unknown text rules '3'"),
        (["--vad_model", PUNCTUATION], "is for punctuation, not for vad"),
        (["--beam_size", "0"], "beam_size is 0"),
        (["--vad_model", "none", "--merge_vad", "true"], "merge_vad has no effect without a VAD model"),
        (["--merge_length_s", "20"], "merge_length_s has no effect without merge_vad"),
        (["--n_speakers", "2"], "n_speakers has no effect without spk_model"),
    ],
    ids=str,
)
def test_wrong_options(arguments, message, capsys):
    assert transcribe(FIRST, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["--n_speakers", "--ncpu"])
@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_count_is_a_positive_number(name, value, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", FIRST, name, value])
    assert ended.value.code == 2 and f"argument {name}: '{value}' is not a" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_in_is_refused_before_anything_is_recognized(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    monkeypatch.setattr(
        "funrecipe.recordings.transcribe_files.load_transcriber", lambda *_, **__: pytest.fail("loaded")
    )
    assert transcribe(FIRST, "--output_dir", tmp_path) == 5
    assert f"Permission denied\n  at: {tmp_path}\n" in capsys.readouterr().err
