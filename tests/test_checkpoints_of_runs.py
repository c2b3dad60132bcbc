"""Which weights a folder of a training run stands for, when nobody names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from funrecipe.errors import DataError
from funrecipe.model_folder.checkpoints import DEFAULT_NAME, find_checkpoint


def folder_with(folder: Path, *names: str, config: str = "") -> Path:
    for name in names:
        (folder / name).write_text("")
    if config:
        (folder / "config.yaml").write_text(config)
    return folder


@pytest.mark.parametrize(
    ("names", "config", "chosen"),
    [
        (("valid.acc.ave.pb", "3epoch.pb", "valid.acc.best.pb", "checkpoint.pb"), "", "valid.acc.ave.pb"),
        (("valid.acc.ave.pb", "valid.loss.ave.pb"), "best_model_criterion: [[valid, loss, min]]", "valid.loss.ave.pb"),
        (("valid.acc.ave.pb", "valid.loss.ave.pb"), "best_model_criterion:\n- [valid, cer, min]\n- - valid\n  - acc\n",
         "valid.acc.ave.pb"),
        ((DEFAULT_NAME, "valid.acc.ave.pb"), "best_model_criterion: [[valid, acc, max]]", DEFAULT_NAME),
        (("model.pt.ep1", "model.pt.ep10", "model.pt.ep9", "model.pt"), "", "model.pt.ep10"),
        (("model.pt.best", "model.pt.ep3", "model.pt"), "model: Paraformer", "model.pt.best"),
        (("model.pt.avg10", "model.pt.avg5", "model.pt.best", "model.pt.ep3"), "", "model.pt.avg10"),
    ],
)  # fmt: skip
def test_without_a_name_the_choice_is_the_runs_own(
    names: tuple[str, ...], config: str, chosen: str, tmp_path: Path
) -> None:
    assert find_checkpoint(folder_with(tmp_path, *names, config=config)).name == chosen


@pytest.mark.parametrize(
    "names", [("model.pb",), (), ("valid.acc.ave.pb", "valid.loss.ave.pb"), ("3epoch.pb",), ("model.pt.log",)]
)
def test_a_folder_that_makes_no_choice_lists_what_it_has(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no checkpoint '{DEFAULT_NAME}'") as error:
        find_checkpoint(folder_with(tmp_path, *names, config="best_model_criterion: 3"))
    assert all(name in str(error.value) for name in names)


def test_a_name_that_is_given_is_never_replaced(tmp_path: Path) -> None:
    folder_with(tmp_path, "valid.acc.ave.pb", "model.pt.ep3")
    assert find_checkpoint(tmp_path, "model.pt.ep3").name == "model.pt.ep3"
    with pytest.raises(DataError, match=r"(?s)no checkpoint 'valid\.acc\.ave_10best\.pb'.*available: model\.pt\.ep3"):
        find_checkpoint(tmp_path, "valid.acc.ave_10best.pb")


def test_a_link_is_resolved_to_the_weights_it_names(tmp_path: Path) -> None:
    folder_with(tmp_path, "2epoch.pb")
    (tmp_path / "valid.acc.ave.pb").symlink_to("2epoch.pb")
    assert find_checkpoint(tmp_path) == (tmp_path / "2epoch.pb").resolve()
