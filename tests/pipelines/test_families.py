"""Every family decodes through the same pipeline and the same infer.sh, whatever the batch size and the jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.pipelines import Tasks, pipeline

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "tests/data/parity").glob("*/model.p[bt]"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Tones in noise of very different lengths, the shortest below a feature window, and synthetic speech."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lines = []
    for number, seconds in enumerate((1.9, 0.005, 0.7, 2.6, 1.2)):
        time_s = np.arange(int(seconds * 16000)) / 16000
        tones = np.sin(2 * np.pi * time_s * (300 + 400 * np.sin(2 * np.pi * 1.3 * time_s + number)))
        soundfile.write(folder / f"u{number}.wav", 0.2 * tones + 0.02 * rng.standard_normal(len(time_s)), 16000)
        lines.append(f"u{number} u{number}.wav\n")
    with np.load(ROOT / "tests/data/parity/sensevoice_small/io.npz") as arrays:
        soundfile.write(folder / "u5.wav", arrays["in.wav1"], 16000)
    lines.append("u5 u5.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder


def written(folder):
    def read(name):
        lines = (folder / "1best_recog" / name).read_text(encoding="utf-8").splitlines()
        return {key: value for key, _, value in (line.partition(" ") for line in lines)}

    return read("token"), read("text"), {key: float(value) for key, value in read("score").items()}


@pytest.mark.slow
@pytest.mark.parametrize("model", FOLDERS, ids=lambda path: path.name)
def test_batches_and_jobs_change_nothing(model, data_dir, tmp_path):
    for batch_size in (1, 8):
        recognize = pipeline(task=Tasks.auto_speech_recognition, model=model, ngpu=0, batch_size=batch_size)
        recognize(audio_in=data_dir / "wav.scp", output_dir=tmp_path / f"batch{batch_size}")
    command = ["bash", "egs/asr/infer.sh", "--model", model, "--data_dir", data_dir, "--output_dir", tmp_path / "jobs"]
    options = ["--gpu_inference", "false", "--njob", "3", "--batch_size", "8", "--stop_stage", "1"]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    subprocess.run([*map(str, command), *options], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    tokens, texts, scores = written(tmp_path / "batch1")
    assert tokens["u1"] == "" and any(tokens.values())
    for name in ("batch8", "jobs"):
        assert written(tmp_path / name)[:2] == (tokens, texts)
        assert written(tmp_path / name)[2] == pytest.approx(scores, abs=1e-4)
