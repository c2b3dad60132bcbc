"""Averages of epochs, their names, links and records."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from funrecipe.cli import main
from funrecipe.errors import DataError, WriteError
from funrecipe.train.averaging import average_best, average_state_dicts, rank_epochs


def write_epochs(folder: Path, values: list[float]) -> dict[int, dict[str, float]]:
    for epoch in range(1, len(values) + 1):
        state = {"w": torch.full((2,), float(epoch)), "half": torch.full((1,), float(epoch), dtype=torch.float16),
                 "bn.num_batches_tracked": torch.tensor(10 * epoch)}  # fmt: skip
        torch.save(state, folder / f"{epoch}epoch.pb")
    return {epoch: {"acc": value} for epoch, value in enumerate(values, 1)}


def test_floats_are_averaged_and_counters_are_summed(tmp_path: Path) -> None:
    write_epochs(tmp_path, [0.1, 0.2, 0.3])
    mean = average_state_dicts([tmp_path / f"{n}epoch.pb" for n in (1, 2, 3)])
    assert mean["w"].tolist() == [2.0, 2.0]
    assert mean["half"].dtype == torch.float16
    assert mean["bn.num_batches_tracked"].item() == 60


def test_names_links_and_records(tmp_path: Path) -> None:
    history = write_epochs(tmp_path, [0.5, 0.9, 0.7, 0.8])
    average_best(tmp_path, history, phase="valid", key="acc", mode="max", nbest=[2])
    assert (tmp_path / "valid.acc.best.pb").readlink() == Path("2epoch.pb")
    assert (tmp_path / "valid.acc.ave_1best.pb").readlink() == Path("2epoch.pb")
    assert (tmp_path / "valid.acc.ave.pb").readlink() == Path("valid.acc.ave_2best.pb")
    assert torch.load(tmp_path / "valid.acc.ave.pb", weights_only=True)["w"].tolist() == [3.0, 3.0]
    record = json.loads((tmp_path / "valid.acc.ave_2best.json").read_text())
    assert record["epochs"] == [2, 4]
    assert record["values"] == {"2": 0.9, "4": 0.8}


def test_fewer_epochs_than_asked_for_are_averaged_all_the_same(tmp_path: Path) -> None:
    history = write_epochs(tmp_path, [0.5, 0.9])
    average_best(tmp_path, history, phase="valid", key="acc", mode="max", nbest=[10])
    assert torch.load(tmp_path / "valid.acc.ave_10best.pb", weights_only=True)["w"].tolist() == [1.5, 1.5]
    assert json.loads((tmp_path / "valid.acc.ave_10best.json").read_text())["epochs"] == [2, 1]


def test_two_criteria_that_share_an_epoch_do_not_disturb_each_other(tmp_path: Path) -> None:
    history = write_epochs(tmp_path, [0.5, 0.9, 0.7])
    losses = {epoch: {"loss": -values["acc"]} for epoch, values in history.items()}
    average_best(tmp_path, history, phase="valid", key="acc", mode="max", nbest=[2])
    average_best(tmp_path, losses, phase="valid", key="loss", mode="min", nbest=[3])
    assert torch.load(tmp_path / "valid.loss.ave_3best.pb", weights_only=True)["w"].tolist() == [2.0, 2.0]
    assert torch.load(tmp_path / "2epoch.pb", weights_only=True)["w"].tolist() == [2.0, 2.0]


def test_a_full_disk_leaves_the_averages_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = write_epochs(tmp_path, [0.5, 0.9, 0.7])

    def average(epochs: list[int]) -> None:
        average_best(tmp_path, {e: history[e] for e in epochs}, phase="valid", key="acc", mode="max", nbest=[2])

    def full(content: object, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for before, weight in (([1], 1.0), ([1, 2], 1.5)):  # a link to an epoch, then a file
        monkeypatch.undo()
        average(before)
        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(WriteError, match=r"cannot write valid\.acc\.ave_2best\.pb: No space"):
            average([1, 2, 3])
        assert torch.load(tmp_path / "valid.acc.ave.pb", weights_only=True)["w"].tolist() == [weight, weight]


def test_ranking_leaves_out_nan_and_prefers_earlier_epochs() -> None:
    history = {1: {"loss": 2.0}, 2: {"loss": float("nan")}, 3: {"loss": 1.0}, 4: {"loss": 1.0}, 5: {}}
    assert rank_epochs(history, "loss", "min") == [3, 4, 1]


def test_checkpoints_of_other_models_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pb")
    torch.save({"w": torch.zeros(3)}, tmp_path / "b.pb")
    with pytest.raises(DataError, match="of different models"):
        average_state_dicts([tmp_path / "a.pb", tmp_path / "b.pb"])


@pytest.mark.parametrize(
    "text",
    ["3\n", '{"epoch": 1}\n', '{"epoch": "one", "valid.acc": "x"}\n', '{"epoch": 1, "valid.acc": null}\n', "\x00"],
)
def test_records_that_are_not_those_of_a_run_are_an_error_with_a_reason(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    (tmp_path / "config.yaml").write_text("best_model_criterion: 3\n")
    for option in ("--nbest=2", "--print_criterion"):
        assert main(["average", f"--output_dir={tmp_path}", option]) in (2, 3)
