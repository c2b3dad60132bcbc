"""The import lines of ModelScope's and FunASR's documents, with their package replaced by ours."""

from __future__ import annotations

import importlib

import pytest

import funrecipe

# (module there, name)
LINES = [
    ("modelscope.pipelines", "pipeline"),
    ("modelscope.utils.constant", "Tasks"),
    ("modelscope.metainfo", "Trainers"),
    ("modelscope.trainers", "build_trainer"),
    ("modelscope.msdatasets.audio.asr_dataset", "ASRDataset"),
    ("funasr.utils.modelscope_param", "modelscope_args"),
]


@pytest.mark.parametrize(("module", "name"), LINES)
def test_a_ported_import_gives_the_public_name(module: str, name: str) -> None:
    ported = importlib.import_module("funrecipe." + module.split(".", 1)[1])
    assert getattr(ported, name) is getattr(funrecipe, name)
