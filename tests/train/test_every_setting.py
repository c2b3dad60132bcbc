"""Every setting of training changes something that a user can observe, or is refused; none is silently dropped."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_corpus import CHARACTERS, CONFIG, SHORT_RUN, scratch

from funrecipe.errors import DataError, FunrecipeError, UsageError
from funrecipe.train.data.dataset import BatchBuilder, BatchLoader, TrainItem
from funrecipe.train.data.featurizer import Featurizer
from funrecipe.train.distributed import join_processes
from funrecipe.train.loop import Trainer
from funrecipe.train.options import KNOWN
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train
from funrecipe.train.validation import Evaluator

MASKS = {"apply_time_warp": False, "time_mask_width_range": [1, 3], "freq_mask_width_range": [1, 9]}
LORA, NOISE, REVERB = {"lora_rank": 2}, {"noise_scp": "@noise.scp"}, {"rir_scp": "@noise.scp"}
LARGE = {"dataset_type": "large", "batch_bins": 3000}
PLATEAU = {"scheduler": "reducelronplateau", "max_epoch": 3,
           "scheduler_conf": {"patience": 0, "factor": 0.1, "threshold": 1e9, "threshold_mode": "abs"}}  # fmt: skip
SOME_BAD = {"data_dir": "@two_bad"}
# setting -> (its value, what else is set in both of the runs that are compared); "@" stands for the corpus.
ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": ("@base", {"config": "", "cmvn_file": "", "optim_conf": {}}),
    "config": ("@other.yaml", {}),
    "token_list": ("@tokens.txt", {}),
    "cmvn_file": ("@other.mvn", {}),
    "pretrained": ("@encoder", {}),
    "data_dir": ("@two_bad", {"max_bad_share": 1}),
    "dataset_type": ("large", {"batch_unit": "ms", "batch_bins": 3000}),
    "batch_bins": (80, {}),
    "batch_unit": ("ms", {"batch_bins": 2000}),
    "num_workers": (2, {}),
    "cache_mb": (0, {"speed_perturb": [1.0], "max_epoch": 2}),
    "min_ms": (700.0, {"max_bad_share": 1}),
    "max_ms": (1200.0, {"max_bad_share": 1}),
    "max_tokens": (4, {"max_bad_share": 1}),
    "max_bad_share": (0.05, SOME_BAD),
    "passes_per_epoch": (2, {}),
    "dataset_conf": ({"shuffle_conf": {"sort_size": 3}}, LARGE),
    "speed_perturb": ([0.9], {}),
    "noise_scp": ("@noise.scp", {}),
    "noise_probability": (0.0, NOISE),
    "noise_snr_db": ([-5, -5], NOISE),
    "rir_scp": ("@noise.scp", {}),
    "reverb_probability": (0.0, REVERB),
    "specaug": ("specaug_lfr", {}),
    "specaug_conf": ({**MASKS, "num_time_mask": 9}, {"specaug": "specaug_lfr"}),
    "model_conf": ({"ctc_weight": 0.9}, {}),
    "init_param": (["@base/1epoch.pb"], {}),
    "ignore_init_mismatch": (True, {"init_param": ["@base/1epoch.pb"], "token_list": "@tokens.txt"}),
    "freeze_param": (["encoder"], {}),
    "extend_vocab": (True, {"data_dir": "@dragon"}),
    "lora_rank": (2, {}),
    "lora_alpha": (64.0, LORA),
    "lora_targets": (["linear_out"], LORA),
    "more_train_dirs": (["@more/train"], {}),
    "phone_ctc_weight": (0.3, {}),
    "phone_ctc_layer": (2, {"phone_ctc_weight": 0.3}),
    "share_pronunciations": (True, {}),
    "max_epoch": (2, {}),
    "max_steps": (1, {}),
    "accum_grad": (2, {}),
    "optim": ("sgd", {}),
    "optim_conf": ({"weight_decay": 0.5}, {}),
    "lr": (0.001, {}),
    "scheduler": ("warmuplr", {}),
    "scheduler_conf": ({"warmup_steps": 2}, {"scheduler": "warmuplr"}),
    "grad_clip": (0.01, {}),
    "grad_clip_type": (1.0, {"grad_clip": 0.01}),
    "precision": ("bf16", {}),
    "seed": (4, {}),
    "best_model_criterion": ([["valid", "loss", "min"]], {}),
    "val_scheduler_criterion": (["valid", "nothing"], PLATEAU),
    "early_stopping_criterion": (["valid", "loss", "max"], {"patience": 0, "max_epoch": 4}),
    "patience": (0, {"lr": 1e-12, "max_epoch": 4, "optim": "sgd"}),
    "keep_nbest_models": (1, {"max_epoch": 2}),
    "valid_decode": (True, {}),
    "valid_decode_utterances": (2, {"valid_decode": True}),
    "save_interval": (1, {}),
    "log_interval": (2, {}),
    "num_gpus": (torch.cuda.device_count() + 1, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with what the rows name beside it."""
    root = tmp_path_factory.mktemp("place")
    for path in corpus.iterdir():
        (root / path.name).symlink_to(path)
    (root / "noise.scp").write_text(f"n {corpus}/train/wav/utt000.wav\n")
    (root / "other.mvn").write_text((corpus / "am.mvn").read_text().replace("0.25", "0.3"))
    (root / "tokens.txt").write_text("\n".join(["<blank>", "<s>", "</s>", *CHARACTERS, "七", "<unk>"]), "utf-8")
    (root / "other.yaml").write_text(
        yaml.safe_dump({**CONFIG, "model_conf": {**CONFIG["model_conf"], "lsm_weight": 0.2}})
    )
    lists = {name: (corpus / "train" / name).read_text("utf-8") for name in ("wav.scp", "text")}
    changed = {
        "shards": lists,
        "more": {name: text.replace("utt", "more") for name, text in lists.items()},
        "dragon": {**lists, "text": lists["text"].replace("utt000 ", "utt000 龙")},
        "two_bad": {**lists, "text": "\n".join(lists["text"].splitlines()[:-1])},
    }
    for name, files in changed.items():
        (root / name / "train").mkdir(parents=True)
        (root / name / "validation").symlink_to(corpus / "validation")
        for file, text in files.items():
            (root / name / "train" / file).write_text(re.sub(r"wav/\D+", f"{corpus}/train/wav/utt", text), "utf-8")
        (root / name / "train" / "data.list").write_text("wav.scp text\n")
    train(scratch(corpus, root / "base", max_steps=1, valid_decode=False))
    (root / "encoder").mkdir()
    (root / "encoder" / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "model": "data2vec"}, allow_unicode=True))
    state = torch.load(root / "base" / "1epoch.pb", weights_only=True)
    torch.save({n: 1.1 * v for n, v in state.items() if n.startswith("encoder.")}, root / "encoder" / "model.pb")
    return root


def settings_for(place: Path, output_dir: Path, **settings: Any) -> dict[str, Any]:
    """Flags of a run; ``@name`` becomes a path below ``place``."""
    flags = {**scratch(place / "shards", output_dir), **SHORT_RUN, "max_epoch": 1}
    flags |= {"config": str(place / "config.yaml"), "cmvn_file": str(place / "am.mvn"), **settings}
    if flags.get("specaug"):
        flags["specaug_conf"] = {**MASKS, **flags.get("specaug_conf", {})}
    filled = json.loads(json.dumps(flags).replace("@", f"{place}/"))
    return {name: value for name, value in filled.items() if value != ""}


def observe(flags: dict[str, Any]) -> dict[str, Any]:
    """What a run leaves behind and what it did: numbers of every step and epoch, files, messages, amount of work."""
    output_dir, work, said = Path(flags["output_dir"]), Counter[str](), ""

    def counted(owner: type, name: str, count: Callable[..., tuple[str, int]]) -> None:
        plain = getattr(owner, name)

        def method(self: Any, *arguments: Any) -> Any:
            what, number = count(*arguments)
            work[what] += number
            return plain(self, *arguments)

        patch.setattr(owner, name, method)

    with pytest.MonkeyPatch.context() as patch:
        counted(Featurizer, "compute", lambda *_: (re.sub(r"\d", "", threading.current_thread().name), 1))
        counted(Trainer, "save_checkpoint", lambda: ("checkpoints", 1))
        counted(Evaluator, "combine", lambda sums, counts: ("decoded tokens", int(sum(counts))))
        try:
            train(flags)
        except FunrecipeError as error:
            said = str(error)
    log = output_dir / "train.log.0"
    epochs = read_json_lines(output_dir / "metrics.jsonl")
    return {
        "work": work, "said": said,
        "steps": read_json_lines(output_dir / "steps.jsonl"),
        "epochs": [{name: value for name, value in e.items() if not name.endswith("time")} for e in epochs],
        "files": sorted(path.name for path in output_dir.iterdir()) if output_dir.is_dir() else [],
        "log lines": log.read_text("utf-8").count("num_updates:") if log.is_file() else 0,
        "tokens": (output_dir / "tokens.txt").read_text("utf-8") if (output_dir / "tokens.txt").is_file() else "",
    }  # fmt: skip


@pytest.fixture(scope="module")
def observed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Observe a run with these settings; runs with equal settings are made once."""
    done: dict[str, Any] = {}

    def run(settings: dict[str, Any]) -> Any:
        key = repr(sorted(settings.items()))
        if key not in done:
            done[key] = observe(settings_for(place, tmp_path_factory.mktemp("run"), **settings))
        return done[key]

    return run


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_setting_changes_something(name: str, observed: Any) -> None:
    value, together = ROWS[name]
    assert observed({**together, name: value}) != observed(together)


def test_equal_settings_are_observed_equal(observed: Any, place: Path, tmp_path: Path) -> None:
    assert observe(settings_for(place, tmp_path)) == observed({})


def output_dir_is_where_everything_goes(place: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    before = sorted(place.rglob("*"))
    train(settings_for(place, tmp_path / "here", max_steps=1))
    assert (tmp_path / "here" / "1epoch.pb").is_file()
    assert sorted(place.rglob("*")) == before


def resume_goes_on_and_without_it_a_run_begins_anew(place: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    for resume, epochs in ((True, [1]), (True, [1, 2]), (False, [1])):
        train(settings_for(place, tmp_path, resume=resume, max_epoch=len(epochs)))
        assert [record["epoch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == epochs


def accept_changed_data_lets_a_run_resume_with_other_data(
    place: Path, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    train(settings_for(place, tmp_path, max_epoch=1))
    other = settings_for(place, tmp_path, max_epoch=2, max_bad_share=1) | {"data_dir": str(place / "two_bad")}
    with pytest.raises(DataError, match="the training data have changed"):
        train(other)
    train(other | {"accept_changed_data": True})
    assert [record["epoch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [1, 2]


def prefetch_batches_are_computed_before_the_first_is_used(
    place: Path, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    class Plan:
        def batches(self, epoch: int) -> Iterator[list[TrainItem]]:
            for number in range(9):
                taken.append(number)
                yield [TrainItem(str(number), "", (3,), 100.0)]

    for ahead in (1, 5):
        taken: list[int] = []
        batches = BatchLoader(Plan(), BatchBuilder(lambda item, _: torch.zeros(3, 2)), prefetch_batches=ahead).epoch(1)
        next(batches)
        batches.close()
        assert len(taken) == ahead + 1


def process_timeout_s_is_the_groups(place: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        patch.setenv(name, value)
    seen: list[timedelta] = []
    patch.setattr(torch.distributed, "init_process_group", lambda backend, timeout: seen.append(timeout))
    with contextlib.suppress(ValueError):  # there is no group after all
        train(settings_for(place, tmp_path, process_timeout_s=7))
    join_processes(device="cpu", timeout_s=8)
    assert seen == [timedelta(seconds=7), timedelta(seconds=8)]


SPECIAL: dict[str, Callable[[Path, Path, pytest.MonkeyPatch], None]] = {
    "output_dir": output_dir_is_where_everything_goes,
    "resume": resume_goes_on_and_without_it_a_run_begins_anew,
    "accept_changed_data": accept_changed_data_lets_a_run_resume_with_other_data,
    "prefetch_batches": prefetch_batches_are_computed_before_the_first_is_used,
    "process_timeout_s": process_timeout_s_is_the_groups,
}


@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_settings_that_take_more_than_two_runs(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SPECIAL[name](place, tmp_path, monkeypatch)


def test_no_setting_is_without_a_row() -> None:
    assert {*ROWS, *SPECIAL} == KNOWN.keys()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_alpha": 64.0}, "lora_alpha has no effect without --lora_rank"),
        ({"dataset_conf": {"shuffle": False}}, "dataset_conf has no effect without --dataset_type large"),
        ({"scheduler_conf": {"warmup_steps": 3}}, "scheduler_conf has no effect without --scheduler"),
        ({"early_stopping_criterion": ["valid", "acc", "max"]}, "without --patience"),
        ({"noise_probability": 0.9}, "without --noise_scp"),
        ({"model_conf": {"ctc_wieght": 0.3}}, "no setting 'ctc_wieght'"),
        ({"specaug": "specaug", "specaug_conf": {"num_time_msk": 0.3}}, "num_time_msk"),
        ({**LARGE, "dataset_conf": {"shufle": False}}, "no setting 'shufle'"),
        ({**LARGE, "dataset_conf": {"shuffle_conf": {"size": 3}}}, "no setting 'size'"),
        ({**LARGE, "cache_mb": 7}, "cache_mb has no effect without --dataset_type small"),
    ],
)  # fmt: skip
def test_a_setting_that_would_do_nothing_is_refused(settings: dict[str, Any], said: str, observed: Any) -> None:
    seen = observed(settings)
    assert said in seen["said"]
    assert not seen["steps"]


def test_a_large_data_set_says_which_of_funasrs_settings_are_replaced(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = {"data_names": "speech,text", "batch_conf": {"batch_type": "token", "batch_size": 25000}, "num_workers": 8}
    train(settings_for(place, tmp_path, **LARGE, max_steps=1, dataset_conf=conf))
    log = (tmp_path / "train.log.0").read_text("utf-8")
    assert "dataset_conf: batch_conf has no effect; set batch_bins and batch_unit instead" in log


def test_defaults_may_be_given_where_they_change_nothing(place: Path, tmp_path: Path) -> None:
    train(settings_for(place, tmp_path, max_steps=1, lora_alpha=16.0, ignore_init_mismatch=False, phone_ctc_layer=0))
    with pytest.raises(UsageError, match="phone_ctc_layer"):
        train(settings_for(place, tmp_path / "b", max_steps=1, phone_ctc_layer=1))
