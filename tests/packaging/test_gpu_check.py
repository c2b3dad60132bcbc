"""The check of a GPU, which is lent for minutes: what fails says why, and no step takes the time of the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
import torch

from tools.bench import gpu_check


def arguments(minutes: float) -> argparse.Namespace:
    return argparse.Namespace(peer_python=None, utterances=4, minutes=minutes)


def test_a_command_that_fails_shows_the_end_of_its_logs(tmp_path: Path, capsys) -> None:
    checks = gpu_check.Checks(arguments(9), tmp_path)
    (tmp_path / "fp32/log").mkdir(parents=True)
    (tmp_path / "fp32/log/decode.1.log").write_text("CUDA error: no kernel image\n")
    with pytest.raises(RuntimeError, match="fp32: it fails .*no kernel image"):
        checks.run([sys.executable, "-c", "print('see the log'); raise SystemExit(4)"], "fp32")
    assert "fp32.log: see the log" in capsys.readouterr().err


def test_a_command_ends_with_the_time_that_is_left(tmp_path: Path) -> None:
    checks = gpu_check.Checks(arguments(0), tmp_path)
    with pytest.raises(RuntimeError, match="fp32: it takes too long"):
        checks.run([sys.executable, "-c", "import time; time.sleep(600)"], "fp32")


def test_the_table_comes_even_if_no_time_is_left(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert gpu_check.run(arguments(0), tmp_path) == 1
    assert "| training | not measured: no time is left |  | NO |" in capsys.readouterr().out
