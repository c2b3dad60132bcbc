"""egs/speaker/infer.sh: the engine of infer.sh with a speaker model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from funrecipe.model_folder import open_model_folder
from funrecipe.score.der import score_diarization
from funrecipe.score.rttm import SpeakerTurn, read_rttm, write_rttm
from funrecipe.speaker.diarization import cut_segments, diarize
from funrecipe.speaker.embedding import load_speaker_model

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/parity/campplus"
SEGMENTS_MS = [(500, 4100), (4300, 9000), (9700, 13000), (13050, 17800), (18000, 18900)]


def infer(cwd: Path, *arguments: str) -> tuple[int, str]:
    command = ["bash", str(ROOT / "egs/speaker/infer.sh"), "--model", str(MODEL), "--gpu_inference", "false"]
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(
        [*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture
def utterances(tmp_path):
    """Four utterances of the golden recordings and trials about them."""
    golden, data = np.load(MODEL / "io.npz"), tmp_path / "data"
    data.mkdir()
    for name, key, end in (("a1", "wav0", None), ("a2", "wav0", 30000), ("b1", "wav1", None), ("b2", "wav1", 30000)):
        soundfile.write(data / f"{name}.wav", golden[f"in.{key}"][:end], 16000)
    (data / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in ("a1", "a2", "b1", "b2")))
    (data / "trials").write_text("a1 a2 target\nb1 b2 target\na1 b1 nontarget\na2 b2 nontarget\n")
    return data


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two recordings in which two voices (chords) take turns, their segments and who speaks."""
    data = tmp_path_factory.mktemp("diarization") / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    time_s = np.arange(19 * 16000) / 16000
    for name in ("x", "y"):
        samples = generator.normal(0, 0.003, len(time_s))
        for number, (start_ms, end_ms) in enumerate(SEGMENTS_MS):
            inside = (time_s >= start_ms / 1000) & (time_s < end_ms / 1000)
            for hz in ((130, 260, 520), (900, 1800, 3600))[number % 2]:
                samples += inside * 0.2 * np.sin(2 * np.pi * hz * time_s)
        soundfile.write(data / f"{name}.wav", samples, 16000, subtype="PCM_16")
    (data / "wav.scp").write_text("x x.wav\ny y.wav\n")
    rows = [(f"{name}-{i}", name, *span) for name in ("x", "y") for i, span in enumerate(SEGMENTS_MS)]
    (data / "segments").write_text("".join(f"{key} {name} {s / 1000} {e / 1000}\n" for key, name, s, e in rows))
    turns: dict[str, list[SpeakerTurn]] = {"x": [], "y": []}
    for key, name, start_ms, end_ms in rows:
        turns[name].append(SpeakerTurn(start_ms / 1000, end_ms / 1000, ("low", "high")[int(key[-1]) % 2]))
    write_rttm(data / "rttm", turns)
    (data / "reco2num_spk").write_text("x 2\ny 2\n")
    return data


@pytest.mark.slow
def test_embeddings_and_scores_do_not_depend_on_the_number_of_jobs(utterances, tmp_path):
    for njob in ("1", "2"):
        code, said = infer(tmp_path, "--data_dir", "data", "--output_dir", f"out{njob}", "--njob", njob)
        assert code == 0, said
        assert "[ 2 target, 2 nontarget trials ]" in said and "4 embeddings in out" in said
    vectors = dict(kaldiio.load_scp(str(tmp_path / "out2/xvector.scp")).items())
    golden = np.load(MODEL / "io.npz")
    for key, number in (("a1", 0), ("b1", 1)):
        np.testing.assert_allclose(vectors[key], golden[f"out.u{number}.embedding"], atol=1e-3)
    for name in ("xvector.ark", "scores", "1best_recog/text"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    assert (tmp_path / "out1/scores").read_text().startswith("a1 a2 ")
    (utterances / "trials").write_text("a1 nobody target\n")
    code, said = infer(tmp_path, "--data_dir", "data", "--output_dir", "out1", "--stage", "2")
    assert code == 3 and "nobody" in said
    assert not (tmp_path / "out1/scores").exists()  # those of other trials


@pytest.mark.slow
def test_an_utterance_that_fails_publishes_nothing_and_the_rest_is_kept(utterances, tmp_path):
    good = (utterances / "b2.wav").read_bytes()
    arguments = ["--data_dir", "data", "--output_dir", "out", "--njob", "2"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/xvector.scp").write_text("of an earlier run\n")
    soundfile.write(utterances / "b2.wav", np.zeros(200, np.int16), 16000)
    code, said = infer(tmp_path, *arguments)
    assert code == 4 and "12 ms of audio is too short for a speaker embedding" in said
    assert not (tmp_path / "out/xvector.scp").exists()
    (utterances / "b2.wav").write_bytes(good)
    code, said = infer(tmp_path, *arguments)
    assert code == 0, said
    logs = "".join(path.read_text() for path in sorted((tmp_path / "out/log").glob("decode.*.log")))
    assert "2 utterances, 1 of them decoded before" in logs  # of the job that had the bad one


@pytest.mark.slow
def test_speakers_of_recordings_are_those_of_the_library_whatever_the_jobs(recordings, tmp_path):
    arguments = ["--task", "diarization", "--data_dir", str(recordings), "--collar", "0"]
    for njob in ("1", "3"):
        code, said = infer(tmp_path, *arguments, "--output_dir", f"out{njob}", "--njob", njob)
        assert code == 0, said
    assert (tmp_path / "out1/rttm").read_bytes() == (tmp_path / "out3/rttm").read_bytes()
    model = load_speaker_model(open_model_folder(MODEL))
    samples, _ = soundfile.read(recordings / "x.wav", dtype="float32")
    expected = diarize(model, cut_segments(samples, SEGMENTS_MS, 16000), 2)
    found = read_rttm(tmp_path / "out1/rttm")
    assert [(t.start_s, t.end_s, t.speaker) for t in found["x"]] == [
        (pytest.approx(t.start_s), pytest.approx(t.end_s), str(t.speaker)) for t in expected.turns
    ]
    score = score_diarization(read_rttm(recordings / "rttm"), found, collar_s=0)
    assert f"%DER {score.total.rate:.2f}" in said and "Scored 2 recordings, collar 0 s" in said
    assert json.loads((tmp_path / "out1/der.json").read_text())["rate"] == pytest.approx(score.total.rate, abs=1e-3)
    assert score.total.missed_s + score.total.false_alarm_s < 0.1  # the segments are those of the reference


@pytest.mark.slow
def test_a_vad_model_finds_the_speech_of_whole_recordings(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"talk {ROOT}/tests/data/vad/vad_example.flac\n")
    (tmp_path / "data/reco2num_spk").write_text("talk 2\n")
    arguments = ["--task", "diarization", "--data_dir", "data", "--output_dir", "out", "--njob", "2"]
    code, said = infer(tmp_path, *arguments, "--vad_model", str(ROOT / "egs/quickstart/vad"))
    assert code == 0, said
    turns = read_rttm(tmp_path / "out/rttm")["talk"]
    assert {turn.speaker for turn in turns} == {"0", "1"}
    assert turns[0].start_s == pytest.approx(0.07) and turns[-1].end_s == pytest.approx(70.45, abs=0.01)
    (tmp_path / "data/wav.scp").write_text("none none.wav\n")
    code, said = infer(tmp_path, *arguments, "--vad_model", str(ROOT / "egs/quickstart/vad"))
    assert code == 4 and "recordings that cannot be read: 1" in said
    assert not (tmp_path / "out/rttm").exists() and not (tmp_path / "out/1best_recog").exists()


def test_what_a_speaker_model_does_not_use_is_refused_before_anything_starts(utterances, tmp_path):
    code, said = infer(tmp_path, "--data_dir", "data", "--model", str(ROOT / "tests/data/parity/conformer"))
    assert code == 2 and "family 'asr' is for recognition, not for speaker" in said


def test_the_second_stage_alone_wants_the_first(utterances, tmp_path):
    code, said = infer(tmp_path, "--data_dir", "data", "--output_dir", "none", "--stage", "2")
    assert code == 3 and "run stage 1 first" in said


@pytest.mark.slow
def test_recordings_without_speech_are_scored_and_nothing_of_an_earlier_run_stays(tmp_path):
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/quiet.wav", np.zeros(48000), 16000)
    (tmp_path / "data/wav.scp").write_text("r quiet.wav\n")
    write_rttm(tmp_path / "data/rttm", {"r": [SpeakerTurn(0.0, 2.0, "a")]})
    (tmp_path / "out/1best_recog").mkdir(parents=True)
    for name in ("der.json", "xvector.scp", "1best_recog/text"):
        (tmp_path / "out" / name).write_text("of another run\n")
    arguments = ["--task", "diarization", "--data_dir", "data", "--output_dir", "out", "--collar", "0"]
    code, said = infer(tmp_path, *arguments, "--vad_model", str(ROOT / "egs/quickstart/vad"))
    assert code == 0 and "%DER 100.00 [ 2.00 / 2.00 s, 2.00 missed" in said, said
    assert json.loads((tmp_path / "out/der.json").read_text())["missing"] == ["r"]
    assert not (tmp_path / "out/1best_recog").exists() and not (tmp_path / "out/xvector.scp").exists()
