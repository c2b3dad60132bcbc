"""What goes to TensorBoard where it is installed, and what is said where it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_corpus import scratch

from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


class FakeWriter:
    """Keeps what SummaryWriter would write."""

    made: list[FakeWriter] = []

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.scalars, self.closed = Path(folder), purge_step, [], False
        FakeWriter.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True

    def values(self, name: str) -> list[tuple[int, float]]:
        return [(step, value) for found, value, step in self.scalars if found == name]


@pytest.fixture()
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = FakeWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(FakeWriter, "made", [])
    return FakeWriter


def test_every_update_and_every_epoch_is_written(corpus: Path, tmp_path: Path, tensorboard: Any) -> None:
    train(scratch(corpus, tmp_path, max_epoch=2))
    by_phase = {writer.folder.relative_to(tmp_path): writer for writer in tensorboard.made}
    assert set(by_phase) == {Path("tensorboard/train"), Path("tensorboard/valid")}
    assert all(writer.closed for writer in tensorboard.made)
    steps, epochs = (read_json_lines(tmp_path / f"{name}.jsonl") for name in ("steps", "metrics"))
    for phase, writer in zip(("train", "valid"), by_phase.values()):
        for name in ("loss", "acc"):
            assert writer.values(f"epoch/{name}") == [(e["epoch"], e[f"{phase}.{name}"]) for e in epochs]
    training = by_phase[Path("tensorboard/train")]
    for name in ("loss", "grad_norm", "optim0_lr0"):
        assert training.values(name) == [(record["update"], record[name]) for record in steps]
    assert by_phase[Path("tensorboard/valid")].values("epoch/cer_decode") == [
        (e["epoch"], e["valid.cer_decode"]) for e in epochs
    ]


def test_a_resumed_run_hides_what_comes_again(corpus: Path, tmp_path: Path, tensorboard: Any) -> None:
    train(scratch(corpus, tmp_path, max_epoch=1))
    train(scratch(corpus, tmp_path, max_epoch=2))
    updates = len([r for r in read_json_lines(tmp_path / "steps.jsonl") if r["epoch"] == 1])
    assert [writer.purge_step for writer in tensorboard.made] == [1, 1, updates + 1, updates + 1]


def test_without_the_package_a_line_says_so(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it raises ImportError
    train(scratch(corpus, tmp_path, max_steps=1, valid_decode=False))
    assert "the package tensorboard is not installed" in (tmp_path / "train.log.0").read_text("utf-8")
    assert not (tmp_path / "tensorboard").exists()
