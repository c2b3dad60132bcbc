"""Golden vectors of FunASR, and that the runner can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.parity.__main__ import main

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "parity"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/io.npz"))


def test_golden_cases():
    command = [sys.executable, "-m", "tools.parity", str(GOLDEN), *CASES, "--data_root", str(GOLDEN)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)  # as a process: rounding is set before
    passed = [line.split()[1].rstrip(":") for line in result.stdout.splitlines() if line.startswith("pass ")]
    assert (result.returncode, passed) == (0, CASES), result.stdout + result.stderr


@pytest.fixture
def copied_case(tmp_path):
    shutil.copytree(GOLDEN / "paraformer", tmp_path / "paraformer")
    return tmp_path / "paraformer"


def exit_code(monkeypatch, folder):
    monkeypatch.setattr("sys.argv", ["check_parity.sh", str(folder), "--implemented"])
    return main()


def test_runner_passes_an_untouched_copy(copied_case, monkeypatch):
    assert exit_code(monkeypatch, copied_case.parent) == 0


def test_runner_fails_when_one_weight_is_perturbed(copied_case, monkeypatch):
    weights = torch.load(copied_case / "model.pb", weights_only=True)
    weights["encoder.encoders.0.feed_forward.w_1.weight"][0, 0] += 0.05
    torch.save(weights, copied_case / "model.pb")
    assert exit_code(monkeypatch, copied_case.parent) == 1


@pytest.mark.parametrize("key", ["out.u1.alphas", "out.batch.argmax_ids", "out.e2e.wav0.score"])
def test_runner_fails_when_one_expected_number_is_perturbed(copied_case, monkeypatch, key):
    with np.load(copied_case / "io.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    flat = arrays[key].reshape(-1).copy()
    flat[0] += 1 if flat.dtype.kind == "i" else 0.01
    arrays[key] = flat.reshape(arrays[key].shape)
    np.savez(copied_case / "io.npz", **arrays)
    assert exit_code(monkeypatch, copied_case.parent) == 1


def test_runner_counts_a_missing_array_as_a_failure(copied_case, monkeypatch):
    with np.load(copied_case / "io.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(copied_case / "io.npz", **arrays, **{"out.u0.something_new": np.zeros(1, np.float32)})
    monkeypatch.setattr("sys.argv", ["check_parity.sh", str(copied_case.parent)])
    assert main() == 1
    assert exit_code(monkeypatch, copied_case.parent) == 0  # --implemented lets it pass


def test_runner_finds_a_case_by_the_beginning_of_its_name(copied_case, monkeypatch):
    copied_case.rename(copied_case.with_name("paraformer_seed7"))
    assert exit_code(monkeypatch, copied_case.parent) == 0


def test_runner_fails_on_a_case_without_arrays(copied_case, monkeypatch):
    (copied_case / "io.npz").unlink()
    assert exit_code(monkeypatch, copied_case.parent) == 1


def test_runner_fails_on_a_case_of_an_unknown_kind_unless_told_to_skip_it(copied_case, monkeypatch, tmp_path):
    (tmp_path / "mystery").mkdir()
    shutil.copy(copied_case / "io.npz", tmp_path / "mystery")
    assert exit_code(monkeypatch, tmp_path) == 0
    monkeypatch.setattr("sys.argv", ["check_parity.sh", str(tmp_path)])
    assert main() == 1


def test_runner_fails_on_nan(copied_case, monkeypatch):
    with np.load(copied_case / "io.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["out.u1.alphas"] = np.full_like(arrays["out.u1.alphas"], np.nan)
    np.savez(copied_case / "io.npz", **arrays)
    assert exit_code(monkeypatch, copied_case.parent) == 1
