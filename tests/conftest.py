"""What all tests share."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Nothing that a test keeps for later runs gets into the user's cache folder; subprocesses inherit it."""
    os.environ["FUNRECIPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def greedy_model(tmp_path_factory) -> Path:
    """The quick start's model with greedy search in place of its beam and n-grams, as FunASR decodes it."""
    source = Path(__file__).parents[1] / "egs/quickstart/model"
    folder = tmp_path_factory.mktemp("greedy") / "model"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("ngram*"))
    (folder / "decoding.yaml").write_text("beam_size: 1\nctc_weight: 0.0\n")
    return folder
