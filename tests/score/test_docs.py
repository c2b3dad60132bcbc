"""The commands of docs/scoring.md run as written."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def test_commands_of_the_page_run(tmp_path):
    page = (REPO / "docs/scoring.md").read_text(encoding="utf-8")
    commands = re.search(r"```bash\n(.*?)```", page, re.DOTALL).group(1)
    for name in ("egs", "tests"):
        (tmp_path / name).symlink_to(REPO / name)
    script = 'set -e\nfunrecipe() { "$PYTHON" -m funrecipe "$@"; }\n' + commands
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPO)}
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("%WER") >= 2 and "MAPSSWE: " in run.stdout and "B - A: +0.00 points" in run.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"text.cer", "text.cer.json", "RESULTS.txt"}


def test_every_verb_and_option_of_the_page_exists():
    page = (REPO / "docs/scoring.md").read_text(encoding="utf-8")
    known = set()
    for verb in ("score", "compare", "report", "der"):
        text = subprocess.run(
            [sys.executable, "-m", "funrecipe", verb, "--help"],
            cwd=REPO,
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout
        known |= set(re.findall(r"--[a-z_0-9]+", text))
    known |= {"--textnorm_profile", "--hotword_txt", "--model", "--peer"}  # of infer.sh and the benchmark
    assert set(re.findall(r"--[a-z_0-9]+", page)) <= known
