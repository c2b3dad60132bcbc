"""The table of docs/models.md is the table of the code, and what it says of times is what decoding gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from funrecipe.decode.options import OPTIONS, DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.families import FAMILIES
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.zoo import zoo
from tools.write_family_table import PAGE, page

PARITY = Path(__file__).parents[1] / "data/parity"
RECIPE_PAGE = Path(__file__).parents[2] / "egs/asr/README.md"
FOLDERS = sorted(path.parent for path in PARITY.glob("*/model.p[bt]"))


def test_the_page_has_the_families_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python -m tools.write_family_table"


def test_the_page_of_the_recipe_has_the_options_of_every_family() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \| (.*?[^\\]) \|", RECIPE_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    said = {name: cell for names, cell in rows for name in re.findall(r"`(\w+)`", names) if name in FAMILIES}
    assert {name for name, family in FAMILIES.items() if family.search} - {"paraformer_bert"} == said.keys()
    for name, cell in said.items():
        flags = set(re.findall(r"--(\w+)", cell))
        if "as paraformer" in cell:
            left_out = set(re.findall(r"but `--(\w+)`", cell))
            flags = (flags - left_out) | (set(re.findall(r"--(\w+)", said["paraformer"])) - left_out)
        assert flags == {OPTIONS[option].flag or option for option in FAMILIES[name].options}, name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_times_are_given_where_the_table_says_so(folder: Path) -> None:
    model = open_model_folder(folder)
    family = FAMILIES[model.family]
    with np.load(PARITY / "sensevoice_small/io.npz") as arrays:
        wave = arrays["in.wav1"].astype(np.float32) / 32768
    (found,) = load_recognizer(model, options=DecodeOptions(beam_size=1)).transcribe([wave])
    assert (found.timestamp_ms is not None) == family.has_times
    if found.timestamp_ms is not None:
        assert len(found.timestamp_ms) == len(found.tokens)


def test_every_row_of_the_zoo_runs_or_says_in_one_sentence_what_to_do() -> None:
    for row in zoo().values():
        if row.unsupported is not None:
            assert len(row.unsupported) <= 240 and "not built yet" not in row.unsupported, row.id
            assert any(sign in row.unsupported for sign in (":", ";", ",", "use", "give")), row.id
