"""Two processes on the CPU: the numbers of one process with the doubled batch, and no silence when one dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_corpus import scratch

from funrecipe.processes import only_run_in
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


def run_two(flags: dict[str, Any], *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "funrecipe.train.launcher", "--standalone", "--nproc-per-node", "2", *options]
    command += ["-m", "funrecipe", "train"]
    for name, value in flags.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **environment}
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=900, check=False)


def calm(corpus: Path, output_dir: Path, **settings: Any) -> dict[str, Any]:
    """A run without dropout and sampling, whose numbers depend on nothing but the data."""
    model_conf = {"sampling_ratio": 0.0}
    return scratch(corpus, output_dir, max_epoch=2, model_conf=model_conf, **settings)


@pytest.fixture()
def calm_corpus(corpus: Path, tmp_path: Path) -> Path:
    """The corpus with a model without dropout, and an odd number of utterances."""
    root = tmp_path / "calm"
    for name in ("train", "validation"):
        (root / name).mkdir(parents=True)
        for file in ("wav.scp", "text"):
            lines = (corpus / name / file).read_text("utf-8").splitlines(keepends=True)[: 15 if name == "train" else 6]
            (root / name / file).write_text("".join(lines).replace("wav/", f"{corpus}/{name}/wav/"), "utf-8")
    (root / "config.yaml").write_text(
        (corpus / "config.yaml").read_text("utf-8").replace("dropout_rate: 0.1", "dropout_rate: 0.0")
    )
    (root / "am.mvn").write_text((corpus / "am.mvn").read_text())
    return root


def test_two_processes_equal_one_with_twice_the_batch(calm_corpus: Path, tmp_path: Path) -> None:
    result = run_two(calm(calm_corpus, tmp_path / "two", batch_bins=100))
    assert result.returncode == 0, result.stderr[-3000:]
    train(calm(calm_corpus, tmp_path / "one", batch_bins=200))
    two, one = (read_json_lines(tmp_path / name / "steps.jsonl") for name in ("two", "one"))
    assert len(two) == len(one) > 3
    for name in ("loss", "loss_att", "loss_pre", "loss_ctc", "acc", "grad_norm"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-3), name
    first, second = (torch.load(tmp_path / name / "2epoch.pb", weights_only=True) for name in ("two", "one"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-3
    valid_two, valid_one = (read_json_lines(tmp_path / name / "metrics.jsonl")[-1] for name in ("two", "one"))
    assert valid_two["valid.cer_decode"] == valid_one["valid.cer_decode"]
    assert valid_two["valid.acc"] == pytest.approx(valid_one["valid.acc"], abs=1e-6)


def kill_rank_1(folder: Path, steps: Path, number: int = signal.SIGKILL) -> str:
    """A PYTHONPATH whose sitecustomize sends rank 1 of the first start a signal as soon as ``steps`` has a line."""
    (folder / "sitecustomize.py").write_text(
        "import os, threading, time, pathlib\n"
        f"steps = pathlib.Path({str(steps)!r})\n"
        "def watch():\n"
        "    while not (steps.exists() and steps.stat().st_size):\n"
        "        time.sleep(0.01)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "if os.environ.get('RANK') == '1' and os.environ.get('TORCHELASTIC_RESTART_COUNT') == '0':\n"
        "    threading.Thread(target=watch, daemon=True).start()\n"
    )
    return f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def test_a_dead_rank_ends_the_others_with_a_message(calm_corpus: Path, tmp_path: Path) -> None:
    flags = calm(calm_corpus, tmp_path / "out", batch_bins=20) | {"max_epoch": 50, "process_timeout_s": 20}
    result = run_two(flags, PYTHONPATH=kill_rank_1(tmp_path, tmp_path / "out" / "steps.jsonl"))
    assert result.returncode in (137, 5)
    assert re.search(r"rank 1 ended first: Signal 9|rank 0 ended first: .*another rank died", result.stderr)


def test_the_last_word_is_the_error_of_the_rank_that_failed_first(calm_corpus: Path, tmp_path: Path) -> None:
    """Only rank 0 looks at the data; the other loses its partner, which is no news."""
    for name in ("text", "wav.scp"):
        lines = (calm_corpus / "validation" / name).read_text("utf-8").splitlines(keepends=True)
        (calm_corpus / "validation" / name).write_text(lines[0], "utf-8")
    result = run_two(calm(calm_corpus, tmp_path / "out"))
    assert result.returncode == 3
    last = result.stderr.splitlines()[-3:]
    assert last[0] == "rank 0 ended first: the validation set has fewer utterances (1) than there are processes (2)"
    assert last[1].startswith("  at: ") and last[2].startswith("  do: ")


def test_a_restart_goes_on_from_the_last_checkpoint(calm_corpus: Path, tmp_path: Path) -> None:
    flags = calm(calm_corpus, tmp_path / "out", batch_bins=40, save_interval=1) | {"max_epoch": 4}
    path = kill_rank_1(tmp_path, tmp_path / "out" / "steps.jsonl")
    result = run_two(flags, "--max-restarts", "1", PYTHONPATH=path)
    assert result.returncode == 0, result.stderr[-3000:]
    records = read_json_lines(tmp_path / "out" / "steps.jsonl")
    assert [record["update"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["epoch"] == 4
    assert "resumed from" in (tmp_path / "out" / "train.log.0").read_text()


def test_a_signal_to_one_rank_stops_all_at_the_same_update(calm_corpus: Path, tmp_path: Path) -> None:
    """Between two checkpoints; the run then resumes from that update."""
    flags = calm(calm_corpus, tmp_path / "out", batch_bins=20, save_interval=0)
    result = run_two(flags, PYTHONPATH=kill_rank_1(tmp_path, tmp_path / "out/steps.jsonl", signal.SIGTERM))
    assert result.returncode == 130, result.stderr[-3000:]
    stopped = set(re.findall(r"stopped by (?:signal 15|a signal to another rank) after update (\d+)", result.stderr))
    records = read_json_lines(tmp_path / "out" / "steps.jsonl")
    assert stopped == {str(len(records))} and records[-1]["epoch"] == 1
    assert run_two(flags).returncode == 0
    assert f"update {len(records)}" in (tmp_path / "out" / "train.log.0").read_text().split("resumed from")[1]
    undisturbed = run_two(flags | {"output_dir": str(tmp_path / "whole")})
    assert undisturbed.returncode == 0
    assert records[0] and (tmp_path / "whole/steps.jsonl").read_text() == (tmp_path / "out/steps.jsonl").read_text()


def test_ranks_end_with_a_launcher_that_is_killed_outright(calm_corpus: Path, tmp_path: Path) -> None:
    flags = calm(calm_corpus, tmp_path / "out", batch_bins=40) | {"max_epoch": 5000}
    command = [sys.executable, "-m", "funrecipe.train.launcher", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "funrecipe", "train"]
    for name, value in flags.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not read_json_lines(tmp_path / "out" / "steps.jsonl") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    assert process.stderr is not None
    assert "num_updates" in process.stderr.read()  # returns when the last rank has closed it
    with only_run_in(tmp_path / "out"):
        pass


def test_a_resumed_run_validates_with_the_same_batch_norms(calm_corpus: Path, tmp_path: Path) -> None:
    """Each rank has running statistics of its own batches; those of rank 0 are saved."""
    config = yaml.safe_load((calm_corpus / "config.yaml").read_text("utf-8"))
    sizes = {"attention_heads": 2, "linear_units": 32, "num_blocks": 1}
    config |= {"model": "asr", "encoder": "conformer", "decoder": "transformer", "decoder_conf": sizes}
    config["encoder_conf"] = {**sizes, "output_size": 16, "input_layer": "conv2d", "cnn_module_kernel": 5}
    config["model_conf"] = {"ctc_weight": 0.3}
    config = {name: value for name, value in config.items() if not name.startswith("predictor")}
    (calm_corpus / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    flags = scratch(calm_corpus, tmp_path / "whole", valid_decode=False, max_epoch=2)
    assert run_two(flags).returncode == 0
    resumed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "resumed"))
    (resumed / "checkpoint.previous.pb").replace(resumed / "checkpoint.pb")  # after the first epoch
    assert run_two(flags | {"output_dir": str(resumed)}).returncode == 0
    whole, again = (read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("whole", "resumed"))
    assert len(whole) == len(again) == 2
    assert whole[1]["valid.loss"] == again[1]["valid.loss"]


def run_apart(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[int, str]]:
    """Two launches that form one run, as on two machines: exit codes and what they said."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    started = []
    for rank, flags in enumerate((first, second)):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        command = [sys.executable, "-m", "funrecipe", "train"]
        for name, value in flags.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **place, "MASTER_PORT": port}
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    ends = [process.communicate(timeout=900)[1] for process in started]
    return [(process.returncode, end) for process, end in zip(started, ends)]


def test_machines_with_other_settings_or_data_are_refused(calm_corpus: Path, tmp_path: Path) -> None:
    """Their weights would drift apart, or utterances be trained twice and not at all, without a word."""
    other = Path(shutil.copytree(calm_corpus, tmp_path / "other"))
    (other / "train" / "text").write_text(
        (calm_corpus / "train" / "text").read_text("utf-8").replace("一", "二"), "utf-8"
    )
    flags = calm(calm_corpus, tmp_path / "out")
    first, second = run_apart(flags, flags | {"data_dir": str(other), "lr": 0.1})
    assert first[0] == second[0] == 2
    assert "1 of 2 ranks have been started with others than rank 0" in first[1]
    assert "lr is 0.1, and 0.003 on rank 0; training data is" in second[1]
    assert not (tmp_path / "out" / "checkpoint.pb").exists()


def test_a_machine_that_does_not_see_the_checkpoint_is_refused(calm_corpus: Path, tmp_path: Path) -> None:
    flags = calm(calm_corpus, tmp_path / "out")
    train(flags | {"max_epoch": 1})
    before = (tmp_path / "out" / "checkpoint.pb").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    first, second = run_apart(flags, flags | {"output_dir": str(tmp_path / "elsewhere")})
    assert first[0] == second[0] == 2
    assert "epoch is 1, and 2 on rank 0" in second[1]
    assert (tmp_path / "out" / "checkpoint.pb").read_bytes() == before
