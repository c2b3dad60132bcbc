"""Settings: who wins, what is refused, and that every one of them does something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_corpus import SHORT_RUN, scratch

from funrecipe import build_trainer, modelscope_args
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder.config_check import USED, WITHOUT_EFFECT
from funrecipe.train.distributed import Ranks
from funrecipe.train.loop import Trainer
from funrecipe.train.options import KNOWN, RANGES, TYPES, build_options, parse_flag, resolve, settings_lines
from funrecipe.train.output_folder import RUN_KEY
from funrecipe.train.session import build_session

MASKS = {"apply_time_warp": False, "time_mask_width_range": [0, 5]}


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


def test_every_value_can_say_where_it_comes_from() -> None:
    settings = resolve(
        {"max_epoch": 150, "accum_grad": 4, "model_conf": {"ctc_weight": 0.3}, "optim_conf": {"lr": 0.1}},
        {"max_epoch": 20, "seed": 2, "optim_conf": {"eps": 1e-6}},
        {"max_epoch": 5, "seed": 7, "model_conf": {"lsm_weight": 0.1}, "scheduler": "linear"},
        from_file={"seed": "my.conf", "lr": "my.conf"},
    )
    lines = settings_lines(settings)
    assert "max_epoch: 5 (command line, instead of 20 (finetune.yaml))" in lines
    assert "accum_grad: 4 (config.yaml)" in lines
    assert "seed: 7 (my.conf, instead of 2 (finetune.yaml))" in lines
    assert 'model_conf: {"ctc_weight": 0.3, "lsm_weight": 0.1} (config.yaml, command line)' in lines
    assert 'optim_conf: {"lr": 0.1, "eps": 1e-06} (config.yaml, finetune.yaml)' in lines
    assert "scheduler: linear (command line)" in lines
    assert lines[-1].startswith("defaults: model: ") and "grad_clip: 5.0" in lines[-1]
    assert {line.partition(":")[0] for line in lines[:-1]} == {
        *("max_epoch", "accum_grad", "seed", "model_conf", "optim_conf", "scheduler")
    }


def test_a_configuration_file_of_a_recipe_counts_less_than_flags_and_more_than_the_models_files() -> None:
    settings = resolve({}, {"lr": 0.1, "optim": "sgd"}, {"lr": 0.2, "optim": "adam"}, from_file={"lr": "my.conf"})
    assert (settings.options.lr, settings.trace["lr"].source) == (0.2, "my.conf")
    assert (settings.options.optim, settings.trace["optim"].source) == ("adam", "command line")


def test_replacing_the_default_optimizer_drops_what_was_meant_for_it() -> None:
    options = build_options({"optim_conf": {"betas": [0.9, 0.98]}}, {}, {"optim": "sgd"})
    assert options.optim_conf == {}


def test_a_script_that_writes_nothing_overrides_nothing(corpus: Path) -> None:
    arguments = vars(modelscope_args(model="m", data_path=str(corpus), output_dir="out"))
    flags = build_trainer(default_args={"data_dir": str(corpus), **arguments}).flags
    finetune = {"batch_bins": 777, "dataset_type": "large", "max_epoch": 9, "lr": 0.3}
    assert {name: getattr(build_options({}, finetune, flags), name) for name in finetune} == finetune


def test_the_configuration_of_a_run_holds_no_key_that_decoding_refuses() -> None:
    assert {*KNOWN, RUN_KEY} <= USED | WITHOUT_EFFECT


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
        ({"early_stopping_criterion": "acc"}, "early_stopping"), ({"lr": float("inf")}, "lr"),
        ({"max_epoch": float("inf")}, "max_epoch"), ({"num_workers": -1}, "num_workers is -1(.|\n)*from 0"),
        ({"max_bad_share": 3}, "max_bad_share is 3(.|\n)*from 0 to 1"),
        ({"noise_probability": -0.1}, "noise_probability"),
        ({"keep_nbest_models": 0}, "keep_nbest_models is 0(.|\n)*integer of 1 or more"),
        ({"max_steps": -1}, "max_steps"), ({"max_ms": 50}, "max_ms: 50 is not above min_ms"),
        ({"speed_perturb": []}, "speed_perturb"), ({"noise_scp": "x", "noise_snr_db": [9, 3]}, "the lowest and"),
        ({"speed_perturb": [1.0, 11]}, "speed_perturb is 11(.|\n)*from 0.1 to 10"),
        ({"phone_ctc_weight": -1}, "phone_ctc_weight"), ({"process_timeout_s": 1e300}, "process_timeout_s"),
        ({"max_epoch": 10**30}, "max_epoch"),
        ({"scheduler_conf": [1]}, "scheduler_conf"), ({"patience": -1}, "patience"),
        ({"model_conf": "x"}, "model_conf"), ({"seed": 1 << 63}, "seed is"),
        ({"val_scheduler_criterion": ["valid"]}, "val_scheduler_criterion"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_options({}, {}, flags)


def test_every_number_has_a_range_and_its_default_is_in_it() -> None:
    kinds = {int, float, list[int], list[float], int | None, float | None}
    assert {name for name, kind in TYPES.items() if kind in kinds} == RANGES.keys()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"model": "paraformer"}, ("valid", "acc", "max")),
        ({"model": "rnnt_unified"}, ("valid", "loss", "min")),
        ({"model": "asr", "model_conf": {"ctc_weight": 0.3}}, ("valid", "acc", "max")),
        ({"model": "asr", "model_conf": {"ctc_weight": 1.0}}, ("valid", "loss", "min")),
        ({"model": "lm", "best_model_criterion": [["train", "loss", "min"]]}, ("train", "loss", "min")),
    ],
)
def test_epochs_are_ranked_by_a_value_that_the_model_has(config: dict[str, Any], wanted: tuple[str, str, str]) -> None:
    assert build_options(config, {}, {}).best_model_criterion == [wanted]
    given = {"best_model_criterion": [["valid", "cer_decode", "min"]]}
    assert build_options(config, {}, given).best_model_criterion == [("valid", "cer_decode", "min")]


def test_one_criterion_needs_no_second_pair_of_brackets() -> None:
    for text in ("valid,loss,min", "[valid, loss, min]", "[[valid, loss, min]]"):
        value = parse_flag("best_model_criterion", text)
        assert build_options({}, {}, {"best_model_criterion": value}).best_model_criterion == [("valid", "loss", "min")]
    assert build_options({}, {}, {"patience": 1, "early_stopping_criterion": "train,acc,max"}).patience == 1


def test_an_unknown_key_of_finetune_yaml_is_refused() -> None:
    with pytest.raises(UsageError, match=r"finetune\.yaml: no setting 'max_epohc'"):
        build_options({}, {"max_epohc": 3}, {})


def test_a_criterion_that_the_run_does_not_have_names_those_it_has(corpus: Path, tmp_path: Path) -> None:
    flags = scratch(corpus, tmp_path, **SHORT_RUN)
    flags |= {"patience": 1, "early_stopping_criterion": ["valid", "cer_ctc", "min"]}
    with pytest.raises(DataError, match=r"valid\.cer_ctc(.|\n)*valid\.acc"):
        trainer_of(flags).run()


def test_a_criterion_for_averages_that_does_not_exist_is_said_after_one_epoch(corpus: Path, tmp_path: Path) -> None:
    flags = scratch(corpus, tmp_path, **SHORT_RUN) | {"best_model_criterion": [["valid", "cer_ctc", "min"]]}
    with pytest.raises(DataError, match=r"(?s)no value valid\.cer_ctc.*valid\.acc"):
        trainer_of(flags).run()
    flags["best_model_criterion"] = [["valid", "cer_ctc", "min"], ["valid", "loss", "min"]]
    assert max(trainer_of(flags).run().history) == 2  # goes on where it was
    assert (tmp_path / "valid.loss.ave.pb").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheduler": "onecyclelr"}, "scheduler_conf: 'onecyclelr' with {}.*max_lr"),
        ({"scheduler": "exponentiallr"}, "scheduler_conf: 'exponentiallr' with {}.*gamma"),
        ({"scheduler": "steplr", "scheduler_conf": {"step_size": "often"}}, "step_size: 'often' is not a number"),
        ({"model_conf": {"ctc_weight": "high"}}, "ctc_weight is 'high'"),
        ({"model_conf": {"ctc_weight": 2}}, "(?s)ctc_weight is 2.*from 0 to 1"),
        ({"lora_rank": 100000}, "(?s)lora_rank is 100000.*from 1 to 96"),
        ({"model_conf": {"length_normalized_loss": 3}}, "length_normalized_loss is 3"),
        ({"scheduler": "warmuplr", "scheduler_conf": {"warmup_steps": -10}}, "(?s)warmup_steps is -10.*0 or more"),
        ({"scheduler": "linear", "scheduler_conf": {"total_steps": 0}}, "total_steps is 0"),
        ({"scheduler": "reducelronplateau", "scheduler_conf": {"patience": -4}}, "patience is -4"),
        ({"lr": None, "optim_conf": {"lr": 0}}, "(?s)optim_conf: lr is 0.*above 0"),
        ({"optim": "sgd", "optim_conf": {"momentum": 5}}, "momentum is 5"),
        ({"optim_conf": {"weight_decay": "inf"}}, "weight_decay is inf"),
        ({"specaug": "specaug_lfr", "specaug_conf": {**MASKS, "time_mask_width_range": [5, 2]}}, "a width from 5 to 2"),
        (
            {"specaug": "specaug_lfr", "specaug_conf": {**MASKS, "time_mask_width_ratio_range": [0, 7]}},
            "a share from 0 to 7",
        ),
        ({"dataset_type": "large", "dataset_conf": {"shuffle": "maybe"}}, "shuffle is 'maybe'"),
        ({"optim_conf": {"betas": 3}}, "optim_conf: 'adamw'"),
        ({"optim_conf": {"weight_decay": -1}}, "optim_conf: 'adamw'.*weight_decay"),
    ],
)
def test_settings_that_an_optimiser_or_a_schedule_cannot_take(
    settings: dict[str, Any], said: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        trainer_of(scratch(corpus, tmp_path, **{**SHORT_RUN, **settings}) | {"max_epoch": 1}).run()


def test_numbers_that_yaml_reads_as_text_are_numbers(corpus: Path, tmp_path: Path) -> None:
    conf = {"optim_conf": {"lr": "5e-4", "eps": "1e-6"}, "lr": None, "scheduler": "warmuplr"}
    trainer = trainer_of(scratch(corpus, tmp_path, **{**SHORT_RUN, **conf, "scheduler_conf": {"warmup_steps": "2e1"}}))
    assert trainer.optimizer.defaults["eps"] == 1e-6
    assert trainer.optimizer.defaults["lr"] == 5e-4
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 / 20)


def test_a_run_that_diverged_says_so(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)not finite.*diverged.*--lr"):
        trainer_of(scratch(corpus, tmp_path, **{**SHORT_RUN, "lr": 1e9, "valid_decode": True})).run()


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
    settings = {**SHORT_RUN, "max_epoch": 3, "log_interval": 2, "keep_nbest_models": 1}
    decoding = {"valid_decode": True, "valid_decode_utterances": 2}
    first = trainer_of(scratch(corpus, tmp_path, **{**settings, **decoding}))
    first.run()
    assert len(list(tmp_path.glob("*epoch.pb"))) <= 2  # the best and the latest
    assert "valid.cer_decode" in first.position.history[1]
    again = trainer_of(scratch(corpus, tmp_path, **{**settings, "resume": False, "max_epoch": 1}))
    again.run()
    assert sorted(again.position.history) == [1]
    resumed = trainer_of(scratch(corpus, tmp_path, **{**settings, "max_epoch": 2}))
    assert sorted(resumed.run().history) == [1, 2]
