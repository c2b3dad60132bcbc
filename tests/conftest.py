"""What all tests share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


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


PARITY = Path(__file__).parent / "data/parity"
# Golden folder of a family that has none of its name; the third makes it one.
STAND_INS = {
    "paraformer_bert": ("paraformer", "model: paraformer\n", "model: paraformer_bert\n"),
    "neatcontextual_paraformer": ("contextual_paraformer", "model: cont", "model: neatcont"),
    "rnnt": ("rnnt", "model: rnnt_unified\n", "model: rnnt\n"),
    "rnnt_unified": ("rnnt", "", ""),
    "asr": ("conformer", "", ""),
    "sense_voice": ("sensevoice_small", "", ""),
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Callable[[str], Path]:
    """A tiny model of every family that recognizes speech, by the name of its row."""

    def make(family: str) -> Path:
        golden, here, there = STAND_INS.get(family, (family, "", ""))
        if not here:
            return PARITY / golden
        folder = shutil.copytree(PARITY / golden, tmp_path_factory.mktemp(family) / "model")
        config = (folder / "config.yaml").read_text("utf-8")
        assert here in config
        (folder / "config.yaml").write_text(config.replace(here, there), "utf-8")
        if family == "paraformer_bert":  # its projection to the teacher's width, which decoding does not use
            state = torch.load(folder / "model.pb", weights_only=True)
            projection = {"pro_nn.weight": torch.zeros(768, 32), "pro_nn.bias": torch.zeros(768)}
            torch.save({**state, **projection}, folder / "model.pb")
        return folder

    return make
