"""Settings: who wins, what is refused, and that every one of them does something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_corpus import scratch

from funrecipe.errors import DataError, UsageError
from funrecipe.train.distributed import Ranks
from funrecipe.train.loop import Trainer
from funrecipe.train.options import KNOWN, build_options
from funrecipe.train.session import build_session

RECIPE = Path(__file__).parents[2] / "egs" / "asr" / "finetune.sh"


def trainer_of(flags: dict[str, Any]) -> Trainer:
    Path(flags["output_dir"]).mkdir(parents=True, exist_ok=True)
    return build_session(build_options({}, {}, flags), Ranks(), torch.device("cpu")).trainer


def test_flags_win_over_finetune_yaml_and_that_over_config_yaml() -> None:
    config = {"max_epoch": 150, "accum_grad": 4, "grad_clip": 3}
    options = build_options(config, {"max_epoch": 20, "accum_grad": 2}, {"max_epoch": 5})
    assert (options.max_epoch, options.accum_grad, options.grad_clip) == (5, 2, 3.0)


def test_settings_of_a_replaced_part_are_not_inherited() -> None:
    config = {"optim": "adam", "optim_conf": {"lr": "5e-4", "betas": [0.9, 0.98]}, "scheduler": "warmuplr",
              "scheduler_conf": {"warmup_steps": 30000}}  # fmt: skip
    options = build_options(config, {"scheduler_conf": {"warmup_steps": 10}}, {"optim": "sgd", "lr": 0.1})
    assert options.learning_rate_conf == {"lr": 0.1}
    assert options.scheduler_conf == {"warmup_steps": 10}


def test_a_models_files_cannot_say_where_to_write_or_what_to_read() -> None:
    options = build_options({"output_dir": "/elsewhere", "init_param": ["x.pb"]}, {"output_dir": "/elsewhere"}, {})
    assert options.output_dir == "./checkpoint"
    assert options.init_param == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"max_epochs": 3}, "max_epoch"), ({"batch_bins": 0}, "batch_bins"), ({"lr": -1}, "lr"), ({"lr": "fast"}, "lr"),
        ({"batch_unit": "frames"}, "batch_unit"), ({"dataset_type": "medium"}, "dataset_type"),
        ({"accum_grad": 1.5}, "accum_grad"),
        ({"precision": "fp16"}, "GPU"), ({"resume": "maybe"}, "resume"),
        ({"best_model_criterion": [["valid", "acc"]]}, "best_model"),
        ({"early_stopping_criterion": ["valid", "acc", "up"]}, "min, max"), ({"precision": "int8"}, "precision"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_options({}, {}, flags)


def test_an_unknown_key_of_finetune_yaml_is_refused() -> None:
    with pytest.raises(UsageError, match=r"finetune\.yaml: no setting 'max_epohc'"):
        build_options({}, {"max_epohc": 3}, {})


def test_the_recipe_offers_every_setting() -> None:
    recipe = RECIPE.read_text("utf-8")
    missing = [name for name in KNOWN if name not in ("config", "token_list", "cmvn_file") and f" {name}" not in recipe]
    assert missing == []


def steps_of(trainer: Trainer) -> list[tuple[float, ...]]:
    """What observers see of a run: per update loss, gradient norm, rate; and the final weights."""
    trainer.run()
    lines = (trainer.output_dir / "steps.jsonl").read_text()
    return [
        lines,
        float(sum(p.detach().double().abs().sum() for p in trainer.model.parameters())),
        trainer.position.epoch,
    ]


BASE: dict[str, Any] = {
    "max_epoch": 2,
    "batch_bins": 150,
    "valid_decode": False,
    "lr": 0.01,
    "seed": 3,
    "save_interval": 0,
}
CHANGES: dict[str, Any] = {
    "batch_bins": 80, "batch_unit": "ms", "passes_per_epoch": 2, "max_epoch": 1, "max_steps": 1, "accum_grad": 2,
    "seed": 4, "lr": 0.001, "optim": "sgd", "optim_conf": {"weight_decay": 0.5}, "scheduler": "warmuplr",
    "scheduler_conf": {"warmup_steps": 2}, "grad_clip": 0.01, "grad_clip_type": 1.0, "precision": "bf16",
    "speed_perturb": [0.9], "specaug": "specaug_lfr", "specaug_conf": {"num_time_mask": 9},
    "model_conf": {"ctc_weight": 0.9},
    "freeze_param": ["encoder"], "lora_rank": 2, "lora_alpha": 64.0, "lora_targets": ["linear_out"],
    "phone_ctc_weight": 0.3,
    "phone_ctc_layer": 2, "min_ms": 700.0, "max_ms": 1200.0, "max_tokens": 4,
}  # fmt: skip
# A setting that only matters together with another one is compared with that one alone.
TOGETHER: dict[str, dict[str, Any]] = {
    "scheduler_conf": {"scheduler": "warmuplr"}, "lora_alpha": {"lora_rank": 2}, "lora_targets": {"lora_rank": 2},
    "phone_ctc_layer": {"phone_ctc_weight": 0.3}, "grad_clip_type": {"grad_clip": 0.01}, "min_ms": {"max_bad_share": 1},
    "max_ms": {"max_bad_share": 1}, "max_tokens": {"max_bad_share": 1},
    "specaug_conf": {"specaug": "specaug_lfr"}, "batch_unit": {"batch_bins": 2000},
}  # fmt: skip
TIME_MASK = {
    "specaug_conf": {"apply_time_warp": False, "time_mask_width_range": [1, 3], "freq_mask_width_range": [1, 9]}
}


@pytest.fixture(scope="module")
def observed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run with changed settings; runs with equal settings are made once."""
    done: dict[str, Any] = {}

    def run(settings: dict[str, Any]) -> Any:
        if settings.get("specaug"):
            settings = {**settings, "specaug_conf": {**TIME_MASK["specaug_conf"], **settings.get("specaug_conf", {})}}
        key = repr(sorted(settings.items()))
        if key not in done:
            done[key] = steps_of(trainer_of(scratch(corpus, tmp_path_factory.mktemp("run"), **{**BASE, **settings})))
        return done[key]

    return run


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_setting_changes_something(name: str, observed: Any) -> None:
    together = TOGETHER.get(name, {})
    assert observed({**together, name: CHANGES[name]}) != observed(together)


def test_noise_and_reverberation_change_the_features(corpus: Path, tmp_path: Path) -> None:
    wave = corpus / "train" / "wav" / "utt000.wav"
    (tmp_path / "noise.scp").write_text(f"n {wave}\n")
    plain = steps_of(trainer_of(scratch(corpus, tmp_path / "plain", **{**BASE, "max_steps": 1})))
    for name in ("noise_scp", "rir_scp"):
        settings = {**BASE, "max_steps": 1, name: str(tmp_path / "noise.scp")}
        assert steps_of(trainer_of(scratch(corpus, tmp_path / name, **settings))) != plain


def test_no_gpu_no_gpu_training(corpus: Path, tmp_path: Path) -> None:
    from funrecipe.commands.train import train

    wanted = torch.cuda.device_count() + 1
    with pytest.raises(UsageError, match="GPUs are visible"):
        train(scratch(corpus, tmp_path, num_gpus=wanted))


def test_a_criterion_that_the_run_does_not_have_names_those_it_has(corpus: Path, tmp_path: Path) -> None:
    flags = scratch(corpus, tmp_path, **BASE) | {"patience": 1, "early_stopping_criterion": ["valid", "cer_ctc", "min"]}
    with pytest.raises(DataError, match=r"valid\.cer_ctc(.|\n)*valid\.acc"):
        trainer_of(flags).run()


def test_the_plateau_schedule_watches_the_criterion_it_is_told(corpus: Path, tmp_path: Path) -> None:
    settings = {"max_epoch": 4, "valid_decode": False, "scheduler": "reducelronplateau"}
    settings["scheduler_conf"] = {
        "patience": 0,
        "factor": 0.1,
        "mode": "min",
        "threshold": 1e9,
        "threshold_mode": "abs",
    }
    trainer = trainer_of(scratch(corpus, tmp_path, **settings, val_scheduler_criterion=["train", "loss"]))
    trainer.run()
    rates = [json.loads(line)["optim0_lr0"] for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert rates[0] == pytest.approx(0.003)
    assert rates[-1] == pytest.approx(3e-5)  # nothing is 1e9 better: divided by ten after epochs 2 and 3
    with pytest.raises(DataError, match=r"train\.cer"):
        trainer_of(scratch(corpus, tmp_path / "b", **settings, val_scheduler_criterion=["train", "cer"])).run()


def test_settings_of_reporting_and_keeping(corpus: Path, tmp_path: Path) -> None:
    settings = {**BASE, "max_epoch": 3, "log_interval": 2, "keep_nbest_models": 1, "valid_decode_utterances": 2}
    first = trainer_of(scratch(corpus, tmp_path, **{**settings, "valid_decode": True}))
    first.run()
    assert len(list(tmp_path.glob("*epoch.pb"))) <= 2  # the best and the latest
    assert "valid.cer_decode" in first.position.history[1]
    again = trainer_of(scratch(corpus, tmp_path, **{**settings, "resume": False, "max_epoch": 1}))
    again.run()
    assert sorted(again.position.history) == [1]
    resumed = trainer_of(scratch(corpus, tmp_path, **{**settings, "max_epoch": 2}))
    assert sorted(resumed.run().history) == [1, 2]
