"""Weights in a safetensors file are read as any others; damaged files are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from funrecipe.checkpoint import SAFETENSORS_TYPES, load_state_dict, read_safetensors, save_safetensors
from funrecipe.errors import DataError
from funrecipe.model_folder import open_model_folder

FOLDER = Path(__file__).parent / "data/parity/sensevoice_small"
NAMES = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16"}


def write(path: Path, state: dict[str, torch.Tensor], **changes: object) -> None:
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        offsets = [len(numbers), len(numbers) + len(raw)]
        header[name] = {"dtype": NAMES[value.dtype], "shape": list(value.shape), "data_offsets": offsets, **changes}
        numbers += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


def test_a_folder_with_safetensors_has_the_same_weights(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("io.npz", "configuration.json"))
    state = load_state_dict(folder / "model.pt")
    write(folder / "model.safetensors", state)
    (folder / "model.pt").unlink()
    opened = open_model_folder(folder)
    assert opened.weights.name == "model.safetensors"
    read = load_state_dict(opened.weights)
    assert read.keys() == state.keys() and all(torch.equal(read[name], value) for name, value in state.items())


def test_types_and_scalars_are_kept(tmp_path: Path) -> None:
    state = {"a": torch.tensor(3), "b": torch.randn(2, 3).bfloat16()}
    write(tmp_path / "x.safetensors", state)
    read = read_safetensors(tmp_path / "x.safetensors")
    assert read["a"].shape == () and read["a"] == 3 and torch.equal(read["b"], state["b"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Every type, scalars, empty and transposed tensors; the numbers begin at a multiple of eight bytes."""
    state = {str(kind): torch.arange(5).to(kind) for kind in SAFETENSORS_TYPES.values()}
    state |= {"scalar": torch.tensor(3.0), "none": torch.zeros(0, 4), "turned": torch.randn(3, 5).T}
    save_safetensors(state, tmp_path / "x.safetensors")
    read = read_safetensors(tmp_path / "x.safetensors")
    assert read.keys() == state.keys() and all(torch.equal(read[name], value) for name, value in state.items())
    assert all(read[name].dtype == value.dtype for name, value in state.items())
    assert int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little") % 8 == 0


@pytest.mark.parametrize("changes", [{"data_offsets": [0, 400]}, {"dtype": "F99"}, {"shape": [7]}, {"shape": "x"}])
def test_a_tensor_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write(tmp_path / "x.safetensors", {"a": torch.zeros(3)}, **changes)
    with pytest.raises(DataError, match="cannot read the safetensors file"):
        read_safetensors(tmp_path / "x.safetensors")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 something else", (5).to_bytes(8, "little") + b"[1,2]"):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(DataError):
            read_safetensors(tmp_path / "x.safetensors")
