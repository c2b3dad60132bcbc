"""The façade with ModelScope's names: every documented parameter arrives or is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_corpus import scratch

from funrecipe import ASRDataset, Trainers, build_trainer, modelscope_args
from funrecipe.errors import DataError, UsageError
from funrecipe.train.options import build_options
from funrecipe.train.run import train

SCRIPT = Path(__file__).parents[2] / "egs" / "asr" / "finetune.py"
DOCUMENTED: dict[str, Any] = {
    "dataset_type": "small", "batch_bins": 1234.0, "max_epoch": 3, "accum_grad": 2, "keep_nbest_models": 4,
    "optim": "adamw",
    "lr": 0.002, "scheduler": "linear", "scheduler_conf": {"warmup_steps": 7}, "specaug": "specaug_lfr",
    "specaug_conf": {"num_time_mask": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def base_model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: the output of a run of one update."""
    output_dir = tmp_path_factory.mktemp("base")
    train(scratch(corpus, output_dir, max_steps=1))
    return output_dir


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_documented_parameter_arrives(name: str, corpus: Path) -> None:
    params = modelscope_args(model="some/model", data_path=str(corpus), output_dir="out")
    setattr(params, name, DOCUMENTED[name])
    arguments = {
        **vars(params),
        "data_dir": ASRDataset.load(corpus, namespace="speech_asr"),
        "work_dir": params.output_dir,
    }
    del arguments["data_path"], arguments["output_dir"]
    model_has = {"scheduler": "warmuplr", "specaug": "specaug"}
    options = build_options(model_has, {}, build_trainer(Trainers.speech_asr_trainer, default_args=arguments).flags)
    assert getattr(options, name) == DOCUMENTED[name]
    assert (options.model, options.output_dir, options.data_dir) == ("some/model", "out", str(corpus))


def test_values_may_be_the_text_of_flags_as_finetune_py_gets_them(corpus: Path) -> None:
    texts = {"specaug": "specaug_lfr", "specaug_conf": "{num_time_mask: 3}", "accum_grad": "2"}
    texts["freeze_param"] = "encoder ctc"
    flags = build_trainer(default_args={"data_dir": str(corpus), **texts}).flags
    options = build_options({}, {}, flags)
    assert (options.specaug_conf, options.accum_grad) == ({"num_time_mask": 3}, 2)
    assert options.freeze_param == ["encoder", "ctc"]


def test_none_leaves_a_setting_to_the_models_files(corpus: Path) -> None:
    flags = build_trainer(default_args={"data_dir": str(corpus), "lr": None, "max_epoch": None}).flags
    assert "lr" not in flags
    assert build_options({"max_epoch": 9}, {}, flags).max_epoch == 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_epochs": 2}, "max_epoch"),
        ({"model_revision": "v1.0.2"}, "funrecipe download"),
        ({"data_dir": None}, "data_dir"),
    ],
)
def test_what_cannot_be_honoured_is_refused(arguments: dict[str, Any], said: str, corpus: Path) -> None:
    with pytest.raises(UsageError, match=said):
        build_trainer(default_args={"data_dir": str(corpus), **arguments})


def test_the_script_leaves_to_finetune_yaml_what_nobody_wrote(base_model: Path, corpus: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base_model, tmp_path / "model", symlinks=True))
    (model / "finetune.yaml").write_text("max_epoch: 1\nmax_tokens: 150\nlr: 0.0007\nbatch_bins: 333\n")
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--data_path", str(corpus)]
    command += ["--freeze_param", "encoder ctc"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    result = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "out"), "--lr", "0.0001"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "lr: 0.0001 (script, instead of 0.0007 (finetune.yaml))" in result.stderr
    assert "batch_bins: 333.0 (finetune.yaml" in result.stderr
    assert "max_epoch: 1 (finetune.yaml" in result.stderr
    assert "1epoch results" in result.stderr and "2epoch results" not in result.stderr
    assert "freeze_param:\n- encoder\n- ctc\n" in (tmp_path / "out/config.yaml").read_text("utf-8")
    assert not (tmp_path / "out/train.log.1").exists()


def test_other_trainers_are_refused() -> None:
    with pytest.raises(UsageError, match="speech-asr-trainer"):
        build_trainer("nlp-trainer", default_args={})


def test_a_data_set_of_the_hub_is_not_downloaded() -> None:
    with pytest.raises(DataError, match="speech_asr_aishell1_trainsets"):
        ASRDataset.load("speech_asr_aishell1_trainsets", namespace="speech_asr")


@pytest.mark.parametrize("data_path", [None, "", 3])
def test_a_data_set_is_named_by_its_folder(data_path: Any) -> None:
    with pytest.raises(UsageError, match="data_path is"):
        ASRDataset.load(data_path, namespace="speech_asr")


def test_a_run_without_a_folder_does_not_write_into_the_current_one(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="output_dir is ''"):
        train({**scratch(corpus, tmp_path, max_steps=1), "output_dir": ""})
    assert not list(tmp_path.iterdir())


def test_training_through_the_facade(base_model: Path, corpus: Path, tmp_path: Path) -> None:
    arguments = {
        "model": str(base_model),
        "data_dir": ASRDataset.load(corpus),
        "work_dir": str(tmp_path),
        "max_epoch": 1,
    }
    build_trainer(Trainers.speech_asr_trainer, default_args=arguments).train()
    assert (tmp_path / "valid.acc.ave.pb").is_file()


@pytest.mark.parametrize(
    "launcher",
    [
        ["-m", "torch.distributed.launch", "--nproc_per_node", "2"],
        ["-m", "torch.distributed.run", "--nproc_per_node", "2"],  # torchrun
    ],
)
def test_the_script_starts_under_both_launchers(
    launcher: list[str], base_model: Path, corpus: Path, tmp_path: Path
) -> None:
    command = [sys.executable, *launcher, str(SCRIPT), "--model", str(base_model), "--data_path", str(corpus)]
    command += ["--output_dir", str(tmp_path), "--max_epoch", "1", "--lr", "0.001", "--freeze_param", "encoder ctc"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    settings["PYTHONPATH"] = str(SCRIPT.parents[2])
    result = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "freeze_param:\n- encoder\n- ctc\n" in (tmp_path / "config.yaml").read_text("utf-8")
    assert "1epoch results" in (tmp_path / "train.log.0").read_text()
    assert (tmp_path / "train.log.1").exists()
