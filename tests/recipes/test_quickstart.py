"""The first command of the README: real speech, the embedded model, a CER; hypotheses equal to FunASR's own."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["text", "token"])
def test_hypotheses_equal_the_reference_ones(quickstart, name: str) -> None:
    assert (quickstart[1] / "1best_recog" / name).read_bytes() == (QUICKSTART / "reference" / name).read_bytes()


def test_scores_equal_the_reference_ones(quickstart) -> None:
    ours, theirs = lines(quickstart[1] / "1best_recog/score"), lines(QUICKSTART / "reference/score")
    assert ours.keys() == theirs.keys()
    assert max(abs(float(ours[key]) - float(theirs[key])) for key in ours) < 1e-3
    assert all(re.fullmatch(r"-?\d+\.\d{6}", value) for value in ours.values())


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
