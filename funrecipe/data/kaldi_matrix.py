"""A matrix or vector of a Kaldi archive, read as numbers: kaldiio's own reader runs commands and loads pickles."""

from __future__ import annotations

import struct

import numpy as np

from funrecipe.audio.containers import MATRIX_HEAD_BYTES, matrix_shape
from funrecipe.audio.io import split_ark_offset
from funrecipe.errors import DataError, UnsafeFileError
from funrecipe.files import special_file

BINARY = b"\0B"
NUMBERS = b" \n[-+.0123456789"  # what a matrix in text form begins with
FAULTS = (OSError, ValueError, AssertionError, RuntimeError, struct.error, MemoryError, OverflowError, TypeError)


def read_matrix(place: str) -> np.ndarray:
    """The matrix or vector, binary or text, at ``file.ark:offset``, or that a file begins with.

    Raises:
        UnsafeFileError: a command in place of a file. DataError: it cannot be read.
    """
    from kaldiio import matio

    if place.strip().startswith("|") or place.strip().endswith("|"):
        hint = "write its output to a file, and list that"
        raise UnsafeFileError(f"a command in place of an archive: {place}", hint=hint)
    path, offset = split_ark_offset(place)
    if what := special_file(path):
        raise DataError(f"it is {what}, not a file", where=place)
    try:
        with open(path, "rb") as file:
            file.seek(offset or 0)
            head = file.read(MATRIX_HEAD_BYTES)
            file.seek(offset or 0)
            if head[:2] == BINARY:
                numbers = matio.read_matrix_or_vector(file)
                if numbers.shape != matrix_shape(head)[0]:
                    raise ValueError("it is cut off")
                return numbers
            if head[:1] and head[:1] in NUMBERS:
                return matio.read_ascii_mat(file)
    except FAULTS as error:
        raise DataError(f"not a whole Kaldi matrix: {getattr(error, 'strerror', None) or error}", where=place) from None
    raise DataError("not a Kaldi matrix", where=place)
