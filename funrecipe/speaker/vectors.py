"""Embeddings on disk: Kaldi's binary vectors, an ``ark`` with its ``scp``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.data.kaldi_matrix import read_matrix
from funrecipe.errors import DataError, FunrecipeError
from funrecipe.files import atomic_write, write_text

VECTORS = "xvector"  # FunASR's name of the files, whatever the model
BINARY_FLOAT_VECTOR = b"\0BFV \4"


def write_vectors(folder: Path, name: str, vectors: Mapping[str, np.ndarray]) -> None:
    """Publish ``name.ark`` and ``name.scp`` (``key ark:offset``), in byte order of the keys.

    Source: Kaldi ``matrix/kaldi-vector.cc``, ``Vector<float>::Write`` in binary mode.

    Raises:
        WriteError: the disk is full, read-only, not permitted.
    """
    ark, lines = folder.absolute() / f"{name}.ark", []
    with atomic_write(ark, "wb") as file:
        for key in sorted(vectors, key=lambda key: key.encode("utf-8", "surrogateescape")):
            file.write(key.encode("utf-8", "surrogateescape") + b" ")
            lines.append(f"{key} {ark}:{file.tell()}\n")
            vector = np.ascontiguousarray(vectors[key], "<f4")
            file.write(BINARY_FLOAT_VECTOR + struct.pack("<i", len(vector)) + vector.tobytes())
    write_text(folder / f"{name}.scp", lines)


def read_vectors(scp: Path) -> dict[str, np.ndarray]:
    """Vectors by key, of an ``scp`` with lines ``key ark:offset``.

    Raises:
        DataError: a vector that cannot be read, is not finite, or has another length than the first; names it.
        UnsafeFileError: a command in place of a file.
    """
    vectors: dict[str, np.ndarray] = {}
    sizes = set()
    for key, place in read_texts(scp).items():
        try:
            vector = np.asarray(read_matrix(place), np.float32)
        except FunrecipeError as error:
            raise type(error)(
                f"cannot read the vector of '{key}': {error.what}", where=place, hint=error.hint
            ) from None
        sizes.add(vector.shape)
        if vector.ndim != 1 or len(sizes) > 1 or not np.isfinite(vector).all():
            what = f"the vector of '{key}' is of shape {vector.shape}, as others are not, or not finite"
            raise DataError(what, where=place, hint="embed the recordings again, all with one model")
        vectors[key] = vector
    return vectors


def line_of(matrix: np.ndarray) -> str:
    """A matrix (N, D) on one line, ``[ 1 2 ; 3 4 ]``, each number as short as float32 allows."""
    rows = (" ".join(map(str, np.asarray(row, np.float32))) for row in matrix)
    return f"[ {' ; '.join(rows)} ]" if len(matrix) else "[ ]"


def matrix_of(line: str, *, where: str) -> np.ndarray:
    """The matrix (N, D) float64 of such a line. Raises DataError."""
    fields = line.split()
    rows = " ".join(fields[1:-1]).split(";") if len(fields) > 2 else []
    try:
        matrix = np.array([[float(number) for number in row.split()] for row in rows])
    except ValueError:
        matrix = np.zeros(0)
    if fields[:1] + fields[-1:] != ["[", "]"] or (rows and matrix.ndim != 2):
        raise DataError("not a line of embeddings", where=where, hint="run stage 1 again")
    return matrix if rows else np.zeros((0, 0))
