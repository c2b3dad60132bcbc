"""egs/asr/infer.py hands its parameters to infer.sh."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAID = ROOT / "tests/data/funasr_greedy/text"


@pytest.fixture
def infer_py(monkeypatch):
    spec = importlib.util.spec_from_file_location("infer_py", ROOT / "egs/asr/infer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls = []
    monkeypatch.setattr(module.os, "execvp", lambda name, command: calls.append(command))
    return module, calls


@pytest.mark.parametrize(
    ("ngpu", "njob", "expected"),
    [
        (2, 2, {"--gpu_inference": "auto", "--gpuid_list": "0,0,1,1", "--njob": "2"}),
        (0, 3, {"--gpu_inference": "false", "--njob": "3"}),
    ],
)
def test_gpus_and_jobs_as_the_old_script_counted_them(infer_py, ngpu, njob, expected):
    module, calls = infer_py
    module.infer({**module.PARAMS, "ngpu": ngpu, "njob": njob, "ctc_weight": 0.3})
    given = dict(zip(calls[0][2::2], calls[0][3::2]))
    assert {**expected, "--ctc_weight": "0.3", "--data_dir": "./data/test"}.items() <= given.items()
    assert ("--gpuid_list" in given) == (ngpu > 0)


def test_it_decodes_and_scores(greedy_model, tmp_path):
    data = tmp_path / "my data"
    data.mkdir()
    key, path = (ROOT / "egs/quickstart/data/wav.scp").read_text().split()[:2]
    (data / "wav.scp").write_text(f"{key} {ROOT / 'egs/quickstart/data' / path}\n")
    (data / "text").write_text(f"{key} 一\n")
    command = [sys.executable, str(ROOT / "egs/asr/infer.py"), "--model", str(greedy_model)]
    command += ["--data_dir", str(data), "--output_dir", str(tmp_path / "out put"), "--ngpu", "0"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable}, stdout=subprocess.DEVNULL)
    reference = SAID.read_text().splitlines()
    results = tmp_path / "out put/1best_recog"
    assert (results / "text").read_text().splitlines() == [row for row in reference if row.startswith(key)]
    assert "%WER" in (results / "text.cer").read_text()


def after_finetune(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "egs/asr"))
    spec = importlib.util.spec_from_file_location("infer_after", ROOT / "egs/asr/infer_after_finetune.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls = []
    monkeypatch.setattr(os, "execvp", lambda name, command: calls.append(command))
    return module, calls


def test_after_fine_tuning_the_data_may_lie_in_test_and_files_may_be_listed(monkeypatch, tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test/wav.scp").write_text("a a.wav\n")
    module, calls = after_finetune(monkeypatch)
    params = {**module.PARAMS, "data_dir": str(tmp_path), "required_files": ["am.mvn", "decoding.yaml"]}
    module.infer_after_finetune(params)
    given = dict(zip(calls[0][2::2], calls[0][3::2]))
    assert given["--data_dir"] == str(tmp_path / "test") and "--required_files" not in given


def test_required_files_is_an_option_with_any_number_of_names():
    command = [sys.executable, str(ROOT / "egs/asr/infer_after_finetune.py"), "--required_files", "a", "b", "--help"]
    assert subprocess.run(command, capture_output=True).returncode == 0
