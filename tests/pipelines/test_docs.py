"""The code blocks of the pages about data, models and the pipeline run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from funrecipe.audio.io import read_audio

ROOT = Path(__file__).resolve().parents[2]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    (tmp_path / "egs").symlink_to(ROOT / "egs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pipeline_page(workplace, capsys):
    from funrecipe.pipelines import Tasks, pipeline

    names = {}
    for block in blocks("pipeline.md", "python"):
        exec(compile(block, "docs/pipeline.md", "exec"), names)
    assert re.match("[\u4e00-\u9fff]{3}", capsys.readouterr().out)  # Chinese, not a path or a mapping
    assert (workplace / "pipeline_results/1best_recog/text").exists()
    online = pipeline(task=Tasks.auto_speech_recognition, model=ROOT / "tests/data/parity/paraformer_online", ngpu=0)
    wave = np.load(ROOT / "tests/data/parity/paraformer_online/io.npz")["in.wave_s0"].astype(np.int16)
    assert names["transcribe_stream"](online, wave) == names["transcribe_stream"](online, wave, piece=4321) != ""


def test_the_page_on_voice_activity(workplace, capsys):
    (workplace / "tests").symlink_to(ROOT / "tests")
    names = {}
    for block in blocks("vad.md", "python"):
        exec(compile(block, "docs/vad.md", "exec"), names)
    assert capsys.readouterr().out.startswith("[[70, 2340], [2620, 6200], ")
    samples = (read_audio("tests/data/vad/vad_example.flac", sample_rate_hz=16000, end_s=5.0) * 32768).astype(np.int16)
    events = list(names["detect_stream"](names["detect"], samples))
    assert events[:3] == [[70, -1], [-1, 2340], [2620, -1]] and events[-1][0] == -1


def test_the_page_on_punctuation(workplace):
    (workplace / "tests").symlink_to(ROOT / "tests")
    names = {}
    for block in blocks("punctuation.md", "python"):
        exec(compile(block, "docs/punctuation.md", "exec"), names)
    realtime = names["pipeline"](task=names["Tasks"].punctuation, model="tests/data/parity/punc_vad_realtime")
    steps = json.loads((ROOT / "tests/data/parity/punc_vad_realtime/texts_out.json").read_text(encoding="utf-8"))
    shown = list(names["punctuate_stream"](realtime, [step["text"] for step in steps]))
    assert shown == [step["result"] for step in steps]


def test_the_page_on_timestamps(workplace, capsys):
    for block in blocks("timestamps.md", "python"):
        exec(compile(block, "docs/timestamps.md", "exec"), {})
    assert capsys.readouterr().out.startswith("<sil> 0.000 0.450;百 0.450 0.510;")


def test_the_page_on_long_audio(workplace, capsys):
    for block in blocks("long_audio.md", "python"):
        exec(compile(block, "docs/long_audio.md", "exec"), {})
    assert "\n1\n00:00:00," in capsys.readouterr().out


def test_the_data_page(workplace):
    (block,) = blocks("data_directories.md", "bash")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", block], check=True, env=environment)
    assert (workplace / "clean_data/wav.scp").exists()
