"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_corpus import CONFIG, some_sentences, write_set


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/`` (16 utterances), ``validation/`` (6) and ``config.yaml`` of the tiny model."""
    root = tmp_path_factory.mktemp("corpus")
    write_set(root / "train", some_sentences(16, 1))
    write_set(root / "validation", some_sentences(6, 2), seed=100)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True), "utf-8")
    mean = "-12.0 " * 160
    scale = "0.25 " * 160
    (root / "am.mvn").write_text(
        f"<Nnet>\n<AddShift> 160 160\n<LearnRateCoef> 0 [ {mean}]\n"
        f"<Rescale> 160 160\n<LearnRateCoef> 0 [ {scale}]\n</Nnet>\n"
    )
    return root


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
