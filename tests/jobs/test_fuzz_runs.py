"""A slice of ``tools.fuzz.runs``; the whole is run by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_damaged_run_folders_and_killed_runs_give_the_undisturbed_results() -> None:
    command = [sys.executable, "-m", "tools.fuzz.runs", "--damaged", "12", "--kills", "2", "--seed", "7"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "12 of 12 damaged folders give the undisturbed results",
        "2 of 2 killed runs give the undisturbed results",
    ]
