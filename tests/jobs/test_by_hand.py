"""The three steps of docs/cloud.md, with its own command for each index, give the results of a recipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/cloud.md").read_text(encoding="utf-8")


def test_the_steps_of_the_page_give_the_results_of_a_recipe(tmp_path: Path) -> None:
    data, source = tmp_path / "test", ROOT / "egs/quickstart/data"
    data.mkdir()
    for name in ("text", "wav.scp"):
        lines = (source / name).read_text().splitlines()[:4]
        (data / name).write_text("".join(line.replace(" wav/", f" {source}/wav/") + "\n" for line in lines))
    (tmp_path / "model").symlink_to(ROOT / "tests/data/parity/paraformer")
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}

    def run(command: str, **variables: str) -> None:
        command = command.replace("/data/", f"{tmp_path}/").replace(".venv/bin/python", sys.executable)
        subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment | variables, check=True, timeout=600)

    plan, merge, score = re.findall(r"^ {7}(\.venv/bin/python -m funrecipe (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    run(plan.replace("--njob 50", "--njob 2").replace("--gpu_inference true", "--gpu_inference false"))
    indented = re.findall(r"^   ```yaml\n(.*?)^   ```", PAGE, re.MULTILINE | re.DOTALL)[0]
    job = yaml.safe_load(re.sub("^ {3}", "", indented, flags=re.MULTILINE))
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == 50
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    for index in range(2):
        run(container["args"][0], JOB_COMPLETION_INDEX=str(index))
    run(merge)
    run(score)
    run("bash egs/asr/infer.sh --model /data/model --data_dir /data/test --output_dir /data/local --njob 1 "
        "--gpu_inference false")  # fmt: skip
    for name in ("text", "token", "text.cer"):
        results = [(tmp_path / run / "1best_recog" / name).read_bytes() for run in ("results", "local")]
        assert results[0] == results[1]
