"""Matrices of Kaldi archives are numbers: nothing in a list or an archive is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from funrecipe.data.kaldi_matrix import read_matrix
from funrecipe.errors import DataError, UnsafeFileError


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("numbers", [np.arange(6, dtype=np.float32), np.ones((3, 2)), np.ones((40, 8), np.float32)])
@pytest.mark.parametrize("form", ["ark", "ark,t"])
def test_what_kaldi_writes_is_read(numbers: np.ndarray, form: str, tmp_path: Path) -> None:
    with kaldiio.WriteHelper(f"{form},scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer("first", numbers)
        writer("second", numbers + 1)
    places = dict(line.split() for line in (tmp_path / "a.scp").read_text().splitlines())
    np.testing.assert_allclose(read_matrix(places["second"]), numbers + 1)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ark").write_bytes(b"key PKL" + pickle.dumps(RunsCode()))
    with pytest.raises(DataError, match="not a Kaldi matrix"):
        read_matrix(f"{tmp_path}/x.ark:4")
    for command in ("touch pwned |", "| touch pwned", " touch pwned|"):
        with pytest.raises(UnsafeFileError, match="touch pwned"):
            read_matrix(command)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\0B", b"\0BFM \4\2\0\0\0\4\2\0\0\0", b"\0BFV \4\2\0\0\0\0\0\0\0", b"[ 1 2", b"RIFF", b"\0BXX \4"]
)
def test_what_is_damaged_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.ark").write_bytes(content)
    with pytest.raises(DataError, match="not a"):
        read_matrix(f"{tmp_path}/a.ark:0")
    with pytest.raises(DataError, match="No such file"):
        read_matrix(f"{tmp_path}/none.ark:0")
