"""Which number type a run computes in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_corpus import SHORT_RUN, scratch

from funrecipe.errors import UsageError
from funrecipe.models import reduced
from funrecipe.train import precision
from funrecipe.train.options import build_options
from funrecipe.train.precision import choose_precision
from funrecipe.train.run import train

CPU = torch.device("cpu")


def cpu_with(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_is_faster", lambda device: is_fast)


@pytest.mark.parametrize(("is_fast", "taken"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_where_it_is_faster_and_says_so(
    is_fast: bool, taken: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_with(is_fast, monkeypatch)
    for wanted in ("auto", taken):
        train(scratch(corpus, tmp_path / wanted, **{**SHORT_RUN, "max_steps": 2, "precision": wanted}))
    steps = [(tmp_path / name / "steps.jsonl").read_text() for name in ("auto", taken)]
    assert steps[0] == steps[1]
    assert f"precision auto: {taken}, since this CPU" in (tmp_path / "auto" / "train.log.0").read_text()


def test_an_emulated_precision_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    cpu_with(False, monkeypatch)
    assert choose_precision("bf16", CPU) == "bf16"
    assert "precision bf16 is emulated on this CPU and slow" in caplog.text
    cpu_with(True, monkeypatch)
    caplog.clear()
    assert choose_precision("bf16", CPU) == "bf16"
    assert caplog.text == ""


def test_auto_is_measured_by_the_time_of_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16_s, is_faster in ((0.5, True), (0.9, False), (10.0, False)):
        monkeypatch.setattr(reduced, "seconds_of_product", lambda t, s=bf16_s: s if t is torch.bfloat16 else 1.0)
        assert reduced.bf16_is_faster(CPU) is is_faster


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match="works on a GPU only"):
        choose_precision("fp16", CPU)
    assert build_options({}, {}, {"precision": "fp16", "num_gpus": 1}).precision == "fp16"
