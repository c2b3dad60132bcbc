"""infer.sh has the flags and defaults of FunASR 0.4-0.6 (recipe contract, section 1.1), and says so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {
    "stop_stage": "2",
    "model": "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
    "data_dir": "./data/test",
    "output_dir": "./results",
    "batch_size": "64",
    "gpuid_list": "0,1",
    "njob": "64",
    "checkpoint_dir": "none",
    "checkpoint_name": "valid.cer_ctc.ave.pb",
    # Documented there, not accepted there:
    "decoding_mode": "none",
    "hotword_txt": "none",
    # Other than there: lists are checked first; no GPU is no error.
    "stage": "0",
    "gpu_inference": "auto",
}


def test_flags_and_defaults() -> None:
    result = subprocess.run(["bash", str(ROOT / "egs/asr/infer.sh"), "--help"], capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    defaults = dict(re.findall(r"^  --(\w+) .*\(default: (.*)\)$", result.stdout, re.MULTILINE))
    assert {name: defaults.get(name) for name in CONTRACT} == CONTRACT


def test_the_recipe_stays_a_recipe() -> None:
    lines = (ROOT / "egs/asr/infer.sh").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    words = {word for line in lines if not line.lstrip().startswith("#") for word in re.findall(r"[\w.]+", line)}
    assert not words & {"sed", "awk", "grep", "cut", "sort", "for", "while", "eval", "perl", "wait"}
