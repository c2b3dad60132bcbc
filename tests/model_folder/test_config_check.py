"""config.yaml is believed nowhere: every key is used, has no effect, or is refused with file and key."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from funrecipe.checkpoint import load_plain
from funrecipe.decode.recognizer import load_model, load_recognizer
from funrecipe.errors import DataError, FunrecipeError, UnsafeFileError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.config_check import USED, WITHOUT_EFFECT, check_config
from funrecipe.train.options import KNOWN
from tools.fuzz.configs import run

PARITY = Path(__file__).resolve().parents[1] / "data/parity"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(PARITY / "paraformer", tmp_path / "model")


def change(folder: Path, **settings: Any) -> Path:
    """Set ``section__key`` or ``key`` in the folder's configuration."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in settings.items():
        section, _, key = name.rpartition("__")
        (config.setdefault(section, {}) if section else config)[key] = value
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return folder


@pytest.mark.parametrize("key", ["frontend", "normalize", "preencoder", "postencoder"])
def test_what_is_not_implemented_is_refused_by_name(folder: Path, key: str) -> None:
    with pytest.raises(UsageError, match=f"{key}: 'banana' is not implemented"):
        open_model_folder(change(folder, **{key: "banana"}))


def test_a_key_that_nothing_reads_is_refused_with_the_nearest_one(folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'encodr_conf'(.|\n)*config.yaml(.|\n)*encoder_conf"):
        open_model_folder(change(folder, encodr_conf={}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frontend_conf__lfr_n": 0.5}, "lfr_n is 0.5(.|\n)*an integer from 1"),
        ({"frontend_conf__fs": "banana"}, "fs is 'banana'"),
        ({"frontend_conf__fs": 1}, "fs is 1(.|\n)*from 1000"),
        ({"frontend_conf__window": 3}, "window is 3"),
        ({"frontend_conf": [1]}, r"frontend_conf is \[1\], not a mapping"),
        ({"model_conf__ctc_weight": 2}, "ctc_weight is 2(.|\n)*config.yaml(.|\n)*from 0 to 1"),
        ({"model_conf__ctc_weight": "much"}, "ctc_weight is 'much'"),
        ({"model_conf__sampling_rato": 0.4}, "sampling_rato(.|\n)*sampling_ratio"),
    ],
)
def test_values_are_checked_when_the_folder_is_opened(folder: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_model_folder(change(folder, **settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder_conf__num_blocks": 1_000_000_000}, "num_blocks is 1000000000, above the limit of 512"),
        ({"encoder_conf__output_size": "wide"}, "output_size is 'wide', not of type int"),
        ({"encoder_conf__dropout_rate": None}, "dropout_rate is None"),
        ({"encoder_conf__attention_dropout_rate": 1.5}, "attention_dropout_rate is 1.5(.|\n)*from 0 to 1"),
        ({"predictor_conf__threshold": 0}, "threshold is 0(.|\n)*above 0"),
        ({"encoder_conf__attention_heads": 0}, r"attention_heads is 0(.|\n)*an integer of 1 or more"),
        ({"encoder_conf__attention_heads": 3}, "width 32 cannot be divided into 3 attention heads"),
        ({"decoder_conf__attention_heads": 5}, "width 32 cannot be divided into 5 attention heads"),
        ({"encoder_conf__heads": 4}, "unknown setting 'heads'(.|\n)*use one of: input_size, output_size"),
    ],
)
def test_values_of_components_are_checked_before_memory_is_taken(
    folder: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load_model(open_model_folder(change(folder, **settings)), device="cpu")


def test_whole_numbers_may_be_written_as_floats(folder: Path) -> None:
    conf = {"encoder_conf__num_blocks": 3.0, "encoder_conf__attention_heads": 4.0, "encoder_conf__kernel_size": 11.0}
    load_model(open_model_folder(change(folder, **conf)), device="cpu")


@pytest.mark.parametrize("fs", [16000.0, "16k", "16000"])
def test_a_rate_written_as_a_float_or_with_a_k_is_the_rate(folder: Path, fs: Any) -> None:
    recognizer = load_recognizer(open_model_folder(change(folder, frontend_conf__fs=fs)))
    assert recognizer.sample_rate_hz == 16000


def test_an_empty_setting_of_the_front_end_is_the_default(folder: Path) -> None:
    load_recognizer(open_model_folder(change(folder, frontend_conf__frame_length=None, frontend_conf__fs=None)))


@pytest.mark.parametrize(
    "line",
    [
        "a: &a [*a]",
        "number: " + "9" * 5000,
        "deep: " + "[" * 20_000,
        "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 9)),
        "code: !!python/object/apply:os.system [true]",
        "? [1, 2]\n: 3",
    ],
    ids=["self-reference", "digits", "deep", "laughs", "tag", "key"],
)
def test_hostile_yaml_is_an_error_with_the_file(folder: Path, line: str) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises((DataError, UnsafeFileError, UsageError), match="config.yaml"):
        open_model_folder(folder)


def test_dates_are_text_and_names_like_no_are_names(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "version: 2023-02-30\nnote: {no: 1}\n", encoding="utf-8")
    config = open_model_folder(folder).config
    assert config["version"] == "2023-02-30" and config["note"] == {"no": 1}


def test_deep_json_is_an_error_with_the_file(folder: Path) -> None:
    (folder / "configuration.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="configuration.json"):
        open_model_folder(folder)


def test_weights_that_are_not_numbers_are_found_when_they_are_loaded(folder: Path) -> None:
    state = torch.load(folder / "model.pb", weights_only=True)
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    torch.save(state, folder / "model.pb")
    with pytest.raises(DataError, match=f"NaN or infinity(.|\n)*{name}"):
        load_model(open_model_folder(folder), device="cpu")


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(DataError, match="unpacks to 10000000 bytes"):
        load_plain(tmp_path / "model.pb")


def test_settings_of_our_own_training_are_known() -> None:
    assert set(KNOWN) <= USED | WITHOUT_EFFECT | {"frontend", "specaug"}


def test_every_published_configuration_passes() -> None:
    for path in sorted(PARITY.glob("*/config.yaml")):
        if (path.parent / "model.pb").exists() or (path.parent / "model.pt").exists():
            open_model_folder(path.parent)
    with pytest.raises(FunrecipeError):
        check_config({"model": "paraformer", "banana": 1}, "config.yaml")


def test_damaged_configurations_work_or_are_refused() -> None:
    counts, wrong = run(count=40, seed=7)
    assert wrong == []
    assert counts["fine"] and counts["refused"]
