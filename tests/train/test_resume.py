"""Going on with other settings, from a damaged checkpoint, or into a folder that belongs to something else."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tiny_corpus import scratch

from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.processes import RETRIED_VARIABLE, only_run_in
from funrecipe.train.average_run import average_run
from funrecipe.train.options import setting_of_run
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output_dir = tmp_path_factory.mktemp("finished")
    train(scratch(corpus, output_dir, max_epoch=1, valid_decode=False))
    return output_dir


@pytest.fixture()
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run of one epoch."""
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": 0.1}, "lr is 0.1, and was 0.003"),
        ({"optim": "sgd"}, "optim is sgd, and was adamw"),
        ({"scheduler": "warmuplr"}, "scheduler is warmuplr, and was None"),
        ({"lora_rank": 2}, "lora_rank is 2, and was 0"),
        ({"share_pronunciations": True}, "share_pronunciations is True, and was False"),
        ({"freeze_param": ["encoder"]}, r"freeze_param is \['encoder'\], and was \[\]"),
    ],
)
def test_a_setting_that_the_checkpoint_would_replace_is_refused(
    settings: dict[str, Any], said: str, corpus: Path, run: Path
) -> None:
    flags = scratch(corpus, run, max_epoch=2, valid_decode=False) | settings
    with pytest.raises(UsageError, match=said):
        train(flags)
    train(flags | {"resume": False, "max_epoch": 1})


def test_a_job_that_is_run_again_resumes_when_its_earlier_attempt_is_gone(
    corpus: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the first attempt was told."""
    flags = scratch(corpus, run, max_epoch=1, valid_decode=False, resume=False)
    earlier = ExitStack()
    earlier.enter_context(only_run_in(run))
    with pytest.raises(DataError, match="another run works in this folder"):
        train(flags)
    threading.Timer(0.5, earlier.close).start()
    monkeypatch.setenv(RETRIED_VARIABLE, "1")
    train(flags)
    assert "nothing left to do" in (run / "train.log.0").read_text()


def test_another_base_model_is_not_taken_for_the_one_that_the_run_began_with(
    corpus: Path, run: Path, finished: Path
) -> None:
    flags = scratch(corpus, run, max_epoch=2, valid_decode=False)
    del flags["config"], flags["cmvn_file"]
    with pytest.raises(UsageError, match=r"base model is [0-9a-f]{12}, and was random"):
        train(flags | {"model": str(finished)})


@pytest.mark.parametrize("part", ["vocabulary", "am.mvn"])
def test_another_vocabulary_or_normalization_is_not_laid_over_trained_weights(
    part: str, corpus: Path, run: Path, tmp_path: Path
) -> None:
    """Of the same size, these fit: every token would change places, every feature its scale."""
    flags = scratch(corpus, run, max_epoch=2, valid_decode=False)
    if part == "vocabulary":
        tokens = (run / "tokens.txt").read_text("utf-8").split()
        swapped = [*tokens[:3], tokens[4], tokens[3], *tokens[5:]]
        (tmp_path / "tokens.txt").write_text("".join(f"{token}\n" for token in swapped), "utf-8")
        flags["token_list"] = str(tmp_path / "tokens.txt")
    else:
        (tmp_path / "am.mvn").write_text((corpus / "am.mvn").read_text().replace("0.25", "0.5"))
        flags["cmvn_file"] = str(tmp_path / "am.mvn")
    before = (run / "tokens.txt").read_text("utf-8"), (run / "am.mvn").read_text()
    with pytest.raises(UsageError, match=rf"{part} is [0-9a-f]{{12}}, and was [0-9a-f]{{12}}"):
        train(flags)
    assert ((run / "tokens.txt").read_text("utf-8"), (run / "am.mvn").read_text()) == before


def test_what_does_not_touch_the_past_may_change(corpus: Path, run: Path) -> None:
    settings = {"grad_clip": 0.5, "speed_perturb": [0.9], "log_interval": 3, "seed": 5, "accum_grad": 2}
    train(scratch(corpus, run, max_epoch=2, valid_decode=False) | settings)
    assert [record["epoch"] for record in read_json_lines(run / "metrics.jsonl")] == [1, 2]


def test_a_damaged_checkpoint_says_what_to_do(corpus: Path, run: Path) -> None:
    (run / "checkpoint.pb").write_bytes((run / "checkpoint.pb").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"(?s)checkpoint\.pb.*--resume false"):
        train(scratch(corpus, run, max_epoch=2))


@pytest.mark.parametrize("place", ["model", "data", "train", "more"])
def test_the_base_model_and_the_data_are_never_written_to(place: str, corpus: Path, run: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(corpus, tmp_path / "data"))
    folder = {"model": run, "data": data, "train": data / "train", "more": tmp_path / "more"}[place]
    shutil.copytree(corpus / "train", tmp_path / "more")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = {"model": str(run), "data_dir": str(data), "output_dir": str(folder), "max_steps": 1, "resume": False,
             "more_train_dirs": [str(tmp_path / "more")]}  # fmt: skip
    for check in (None, "data", "model"):
        with pytest.raises(UsageError, match="output_dir is the folder of the"):
            train(flags, check=check)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_averaging_after_the_fact_takes_as_many_epochs_as_the_run_keeps(finished: Path, tmp_path: Path) -> None:
    assert setting_of_run(finished, "keep_nbest_models", 10) == 2
    assert setting_of_run(tmp_path, "keep_nbest_models", 10) == 10


def test_another_early_stopping_criterion_is_not_compared_with_the_old_one(corpus: Path, tmp_path: Path) -> None:
    """An accuracy is below every loss: as the best loss so far it would end the run whatever happens."""
    flags = scratch(corpus, tmp_path / "run", valid_decode=False, seed=3)
    train({**flags, "max_epoch": 2, "patience": 0, "early_stopping_criterion": ("train", "acc", "max")})
    train({**flags, "max_epoch": 4, "patience": 0, "early_stopping_criterion": ("train", "loss", "min")})
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    losses = [record["train.loss"] for record in records]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("ended", "said", "later"),
    [
        ({"max_steps": 1}, "max_steps 1", {"max_steps": 3}),
        ({"max_steps": 1}, "max_steps 1", {}),
        ({"lr": 1e-12, "patience": 0}, "valid.loss has not improved for 1 epochs", {"lr": 1e-12, "patience": 3}),
    ],
)
def test_a_run_that_has_ended_goes_on_with_higher_limits(
    ended: dict[str, Any], said: str, later: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    flags = scratch(corpus, tmp_path, valid_decode=False, max_epoch=4)
    flags |= {"early_stopping_criterion": ["valid", "loss", "max"]} if "patience" in ended else {}
    for _ in range(2):
        train(flags | ended)
    before = len(read_json_lines(tmp_path / "metrics.jsonl"))
    log = (tmp_path / "train.log.0").read_text("utf-8")
    assert before < 4 and f"the training ends: {said}" in log and f"nothing left to do: {said}" in log
    train(flags | later)
    assert len(read_json_lines(tmp_path / "metrics.jsonl")) > before


@pytest.mark.parametrize("settings", [{"model_conf": {"ctc_weight": 0.05}}, {"max_tokens": 4, "max_bad_share": 1.0}])
def test_epochs_that_are_judged_by_other_settings_are_ranked_apart(
    settings: dict[str, Any], corpus: Path, run: Path
) -> None:
    """The first epoch has the greatest loss by far."""
    criterion = ("train", "loss", "max")
    train(scratch(corpus, run, valid_decode=False, max_epoch=3, best_model_criterion=[criterion], **settings))
    assert sorted(json.loads((run / "train.loss.ave.json").read_text("utf-8"))["epochs"]) == [2, 3]
    average_run(run, ",".join(criterion), 9)
    assert sorted(json.loads((run / "train.loss.ave.json").read_text("utf-8"))["epochs"]) == [2, 3]


def test_a_finished_run_has_the_average_of_another_criterion(corpus: Path, run: Path) -> None:
    """The model folder names it."""
    flags = scratch(corpus, run, valid_decode=False, max_epoch=1)
    train({**flags, "best_model_criterion": [("train", "loss", "min")]})
    assert open_model_folder(run).weights.name == "train.loss.ave.pb"
    with pytest.raises(DataError, match=r"no value valid\.cer_decode to choose"):
        train({**flags, "best_model_criterion": [("valid", "cer_decode", "min")]})
    assert open_model_folder(run).weights.is_file()


def test_a_criterion_that_a_run_does_not_have_is_not_the_one_that_its_folder_names(
    corpus: Path, tmp_path: Path
) -> None:
    criteria = [("valid", "cer_ctc", "min"), ("valid", "acc", "max")]
    train(scratch(corpus, tmp_path / "run", valid_decode=False, max_epoch=1, best_model_criterion=criteria))
    assert open_model_folder(tmp_path / "run").weights.name == "valid.acc.ave.pb"
    assert setting_of_run(tmp_path / "run", "best_model_criterion", []) == [("valid", "acc", "max")]


def test_a_schedule_that_watched_another_value_is_refused(corpus: Path, tmp_path: Path) -> None:
    flags = scratch(corpus, tmp_path / "run", valid_decode=False, max_epoch=1, scheduler="reducelronplateau")
    train(flags)
    with pytest.raises(UsageError, match="val_scheduler_criterion is .*, and was"):
        train({**flags, "max_epoch": 2, "val_scheduler_criterion": ["train", "loss"]})
