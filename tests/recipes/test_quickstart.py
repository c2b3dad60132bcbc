"""The first command of the README: real speech, the embedded model, a CER; and the README's Python.

That hypotheses equal FunASR's own is held by tests/decode/test_recognizer.py, with a model of which FunASR's are known.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> tuple[str, Path]:
    """What it prints and where its results are. It runs in another folder, and in this test's Python."""
    work = tmp_path_factory.mktemp("quickstart")
    command = ["bash", str(QUICKSTART / "infer.sh"), "--output_dir", str(work / "results"), "--stop_stage", "4"]
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, work / "results"


def lines(path: Path) -> dict[str, str]:
    return dict(line.partition(" ")[::2] for line in path.read_text(encoding="utf-8").split("\n")[:-1])


@pytest.mark.parametrize("name", ["text", "token", "score"])
def test_every_utterance_has_a_result(quickstart, name: str) -> None:
    results = lines(quickstart[1] / "1best_recog" / name)
    assert list(results) == sorted(lines(QUICKSTART / "data/wav.scp"))
    assert len(results) == 40 and all(value.strip() for value in results.values())
    if name == "score":
        assert all(re.fullmatch(r"-?\d+\.\d{6}", value) for value in results.values())


def test_the_model_is_useful(quickstart) -> None:
    """At most 45 % CER, with one deletion counted for every character that a missing hypothesis would leave out."""
    result = json.loads((quickstart[1] / "1best_recog/text.cer.json").read_text(encoding="utf-8"))
    assert 0.0 < result["rate"] <= 45.0
    assert result["meta"]["model"].endswith("egs/quickstart/model")


def test_the_python_of_the_readme_says_what_the_recipe_wrote(quickstart) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    written = lines(quickstart[1] / "1best_recog/text")
    assert blocks
    for block in blocks:
        result = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert result.returncode == 0, result.stderr
        (key,) = re.findall(r"/wav/(\w+)\.flac", block)
        assert result.stdout.strip() == written[key].replace(" ", "") != ""


def test_it_prints_a_cer_and_a_summary(quickstart) -> None:
    output, _ = quickstart
    assert re.search(r"^%WER \d+\.\d\d \[ \d+ / \d+, \d+ ins, \d+ del, \d+ sub \]$", output, re.MULTILINE)
    assert "Scored 40 sentences, 0 not present in hyp." in output
    for name in ("utterances", "audio", "wall time", "real-time factor", "throughput", "CER"):
        assert re.search(rf"^{name} +\S", output, re.MULTILINE), name


def test_the_layout_is_the_documented_one(quickstart) -> None:
    documented = set(re.findall(r"[\w.]+", (ROOT / "docs/results_layout.md").read_text(encoding="utf-8")))
    for path in quickstart[1].rglob("[!.]*"):
        assert re.sub(r"\.\d+", ".N", path.name) in documented, path


def test_the_quick_start_of_long_audio(quickstart, tmp_path: Path) -> None:
    command = ["bash", str(QUICKSTART / "long.sh"), "--output_dir", str(tmp_path / "out"), "--gpu_inference", "false"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rate, one_by_one = (float(re.findall(r"%WER (\S+)", said)[0]) for said in (done.stdout, quickstart[0]))
    assert abs(rate - one_by_one) <= 1.0
    for name in "ab":
        srt = (tmp_path / "out/transcripts" / f"{name}.srt").read_text()
        assert len(re.findall(r"^\d+\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n\S", srt, re.M)) >= 20
