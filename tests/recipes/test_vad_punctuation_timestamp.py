"""The recipes beside recognition write the original's files, and their scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "parity"
RECORDING = ROOT / "tests" / "data" / "vad" / "vad_example.flac"
SPOKEN = ROOT / "egs" / "quickstart" / "data" / "wav" / "BAC009S0150W0014.flac"


def infer(recipe, *arguments, cwd):
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", str(ROOT / "egs" / recipe / "infer.sh"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_vad(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"card {RECORDING}\nshort {SPOKEN}\n")
    line = "SPEAKER {} 1 {} {} <NA> <NA> speech <NA> <NA>\n"
    (data / "rttm").write_text(line.format("card", 0.07, 70.38) + line.format("short", 0, 3))
    model = ROOT / "egs" / "quickstart" / "vad"
    arguments = ["--model", model, "--data_dir", data, "--output_dir", tmp_path / "out", "--gpu_inference", "false"]
    done = infer("vad", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    text = dict(line.split(" ", 1) for line in (tmp_path / "out/1best_recog/text").read_text().splitlines())
    segments = json.loads(text["card"])
    assert (segments[0], segments[-1], len(segments)) == ([70, 2340], [59820, 70450], 12)
    missed = 70.38 - sum(end - start for start, end in segments) / 1000

    def assert_scored(said):
        scores = json.loads((tmp_path / "out/vad.json").read_text())
        assert scores["false_alarm_s"] == 0.0
        assert scores["recordings"]["card"]["missed_s"] == pytest.approx(missed, abs=0.002)
        assert "detection cost" in said

    assert_scored(done.stdout)
    refused = infer("vad", *arguments, "--stage", "2", "--checkpoint_dir", other_weights(model, tmp_path), cwd=tmp_path)
    assert_refused(refused, "vad.pb was used")
    (data / "rttm").unlink()
    (data / "segments.ref").write_text("card [[70, 70450]]\nshort [[0, 3000]]\n")
    (tmp_path / "out/vad.json").unlink(missing_ok=True)
    again = infer("vad", *arguments, "--stage", "2", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_scored(again.stdout)
    (data / "segments.ref").write_text("card [[70, 70450]]\n")
    assert infer("vad", *arguments, "--stage", "2", cwd=tmp_path).returncode == 3
    assert not (tmp_path / "out/vad.json").exists()  # of another reference


def test_vad_by_a_launcher_and_of_another_channel(tmp_path):
    speech, rate_hz = soundfile.read(RECORDING)
    soundfile.write(tmp_path / "second.wav", np.stack([0 * speech, speech], axis=1), rate_hz)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"a {tmp_path}/second.wav\nb {RECORDING}\n")
    arguments = ["--model", ROOT / "egs/quickstart/vad", "--data_dir", tmp_path / "data", "--gpu_inference", "false"]
    launcher = ["--backend", "launcher", "--launcher", ROOT / "utils/run.sh", "--allow_ffmpeg", "true"]
    for out, more in (("local", []), ("launched", launcher), ("mixed", ["--channel", "2"])):
        done = infer("vad", *arguments, "--output_dir", tmp_path / out, *more, cwd=tmp_path)
        assert done.returncode == (4 if out == "mixed" else 0), done.stdout + done.stderr
    found = (tmp_path / "local/1best_recog/text").read_text()
    assert found.startswith("a []\nb [[70, 2340],") and (tmp_path / "launched/1best_recog/text").read_text() == found
    assert "b\t" in (tmp_path / "mixed/failed.scp").read_text()  # it has one channel
    (tmp_path / "data/wav.scp").write_text(f"a {tmp_path}/second.wav\n")
    done = infer("vad", *arguments, "--output_dir", tmp_path / "second", "--channel", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "second/1best_recog/text").read_text() == found.splitlines()[1].replace("b ", "a ", 1) + "\n"
    refused = infer(
        "vad", *arguments, "--output_dir", tmp_path / "second", "--stage", "2", "--channel", "1", cwd=tmp_path
    )
    assert_refused(refused, "channel")


def test_all_recipes_that_run_jobs_have_the_options_of_back_ends_and_of_audio():
    options = {}
    for recipe in (ROOT / "egs").glob("*/infer.sh"):
        help_text = infer(recipe.parent.name, "--help", cwd=ROOT).stdout
        options[recipe.parent.name] = {line.split()[0] for line in help_text.splitlines() if line.startswith("  --")}
    back_ends = {"--backend", "--backend_opts", "--launcher", "--max_retries", "--on_interrupt", "--stall_timeout_s"}
    audio = {"--allow_pipes", "--allow_ffmpeg", "--audio_fs", "--channel"}
    run_jobs = {name for name, known in options.items() if "--njob" in known}
    assert run_jobs >= {"asr", "vad", "punctuation", "timestamp", "speaker"}
    assert {name: back_ends - options[name] for name in run_jobs if back_ends - options[name]} == {}
    assert {name for name in run_jobs if audio - options[name]} == {"punctuation"}  # reads texts


def other_weights(model, tmp_path):
    """A folder whose weights are not the model's."""
    shutil.copytree(model, tmp_path / "other", ignore=shutil.ignore_patterns("*.gz"))
    weights = next(path for path in (tmp_path / "other").glob("*.pb"))
    weights.write_bytes(weights.read_bytes() + b"\0")
    weights.rename(tmp_path / "other/valid.loss.ave.pb")
    return tmp_path / "other"


def assert_refused(done, said):
    """A later stage does not score what another model, or other rules, left behind."""
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the results here are from plan" in done.stderr and said in done.stderr
    assert "Scoring" not in done.stdout


def test_punctuation(tmp_path):
    texts = [json.loads((GOLDEN / "punc_ct_transformer/texts_out_0.7.0.json").read_text())[i] for i in (1, 2, 3)]
    data = tmp_path / "data"
    data.mkdir()
    many = {f"u{i:02d}": texts[i % 3] for i in range(40)}
    (data / "punc.txt").write_text("".join(f"{key}\t{text['text'].strip()}\n" for key, text in many.items()))
    (data / "punc.ref").write_text("".join(f"{key} {text['result']}\n" for key, text in many.items()))
    arguments = ["--model", GOLDEN / "punc_ct_transformer", "--data_dir", data, "--njob", "2"]
    done = infer("punctuation", *arguments, "--output_dir", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 texts: 2 jobs" in done.stdout
    assert sum(len((tmp_path / f"out/split/text.{n}.scp").read_text().splitlines()) for n in (1, 2)) == 40
    expected = "".join(f"{key}\t{text['result']}\n" for key, text in many.items())
    assert (tmp_path / "out/final_res/infer.out").read_text() == expected
    marks = json.loads((tmp_path / "out/punc.json").read_text())["marks"]
    assert all(counts["f1"] == 100.0 for counts in marks.values()) and set(marks) >= {"comma", "period", "any"}
    shutil.rmtree(tmp_path / "out/output.2")  # as if its job had been lost
    again = infer("punctuation", *arguments, "--output_dir", tmp_path / "out", "--stop_stage", "1", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "of them decoded before" in (tmp_path / "out/log/decode.2.log").read_text()
    assert (tmp_path / "out/final_res/infer.out").read_text() == expected
    rules = ("--output_dir", tmp_path / "out", "--stage", "2", "--text_rules", "1.4")
    assert_refused(infer("punctuation", *arguments, *rules, cwd=tmp_path), "text_rules: 0.7 was used, 1.4 is asked for")
    (data / "punc.txt").write_text((data / "punc.txt").read_text().replace("u00\t", "u00\t好"))
    again = infer("punctuation", *arguments, "--output_dir", tmp_path / "out", "--stop_stage", "1", cwd=tmp_path)
    assert "the plan has changed" in again.stdout  # another text is another plan
    assert (tmp_path / "out/final_res/infer.out").read_text().startswith("u00\t好")


def test_timestamp(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"a {SPOKEN}\nb {tmp_path}/missing.wav\n")
    (data / "text.txt").write_text("a 百 盛 天 山 店 a 楼\nb 好\n")
    (data / "ctm").write_text("".join(f"a 1 {0.45 + i * 0.1:.2f} 0.06 {w}\n" for i, w in enumerate("百盛天山店a楼")))
    model = ROOT / "egs" / "quickstart" / "model"
    arguments = ["--model", model, "--data_dir", data, "--output_dir", tmp_path / "out", "--gpu_inference", "false"]
    refused = infer("timestamp", *arguments, cwd=tmp_path)
    assert refused.returncode == 4 and "b: " in refused.stderr
    done = infer("timestamp", *arguments, "--max_failed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (tmp_path / "out/timestamp_prediction/tp_time").read_text().splitlines()
    assert line.startswith("a# [[450, ") and len(json.loads(line.removeprefix("a# "))) == 7
    (line,) = (tmp_path / "out/timestamp_prediction/tp_sync").read_text().splitlines()
    assert line.startswith("a# <sil> 0.000 0.450;百 0.450 ")
    times = json.loads((tmp_path / "out/1best_recog/timestamp").read_text().removeprefix("a "))
    wanted = [(450 + 100 * i, 510 + 100 * i) for i in range(7)]
    expected = sum(abs(a - c) + abs(b - d) for (a, b), (c, d) in zip(times, wanted)) / 14
    scores = json.loads((tmp_path / "out/timestamp.json").read_text())
    assert scores["mean_ms"] == pytest.approx(expected, abs=0.001) and scores["matched"] == 7
    refused = infer(
        *("timestamp", *arguments, "--stage", "2", "--checkpoint_dir", other_weights(model, tmp_path)),
        *("--checkpoint_name", "valid.loss.ave.pb"),
        cwd=tmp_path,
    )
    assert_refused(refused, "model.pb was used")
    (tmp_path / "other/valid.loss.ave.pb").rename(tmp_path / "other/tp.pb")
    tuned = ["--checkpoint_dir", tmp_path / "other", "--max_failed", "1"]
    for stage in ("1", "2"):  # the name of the weights is the same in both, given or not
        done = infer("timestamp", *arguments, *tuned, "--stage", stage, "--stop_stage", stage, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_texts_of_all_recordings_are_needed(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"a {SPOKEN}\nb {SPOKEN}\n")
    (data / "text.txt").write_text("a 百 盛\n")
    arguments = ["--model", ROOT / "egs/quickstart/model", "--data_dir", data, "--output_dir", tmp_path / "out"]
    refused = infer("timestamp", *arguments, cwd=tmp_path)
    assert refused.returncode == 3 and "1 of 2 utterances have no text" in refused.stderr
