"""Global mean and variance normalization: Kaldi nnet1 text (``am.mvn``) in and out.

Source: the format that Kaldi's ``cmvn-to-nnet`` and FunASR's ``cmvn_converter.py`` write: a component ``<AddShift>``
with minus the means and a component ``<Rescale>`` with one over the standard deviations.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from funrecipe.errors import DataError
from funrecipe.files import write_text

HINT = "write '<AddShift> D D', '<LearnRateCoef> 0 [ D numbers ]' and the same for <Rescale>"


class Cmvn(NamedTuple):
    """``normalized = (feats + shift) * scale``; both float32 (D,)."""

    shift: np.ndarray
    scale: np.ndarray


def read_cmvn(path: Path | str) -> Cmvn:
    """Read an ``am.mvn``; blank lines and trailing spaces are ignored.

    Raises:
        DataError: not readable, a component missing, counts that disagree, or numbers that are not finite.
    """
    path = Path(path)
    try:
        words = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the feature normalization: {error}", where=str(path), hint=HINT) from None
    shift, scale = (_read_component(words, name, path) for name in ("<AddShift>", "<Rescale>"))
    if len(shift) != len(scale):
        raise DataError(f"{len(shift)} shifts but {len(scale)} scales", where=str(path), hint=HINT)
    return Cmvn(shift, scale)


def _read_component(words: list[str], name: str, path: Path) -> np.ndarray:
    try:
        start = words.index(name)
        opening = words.index("[", start)
        closing = words.index("]", opening)
        values = np.array(words[opening + 1 : closing], dtype=np.float32)
        declared = int(words[start + 1])
    except (ValueError, IndexError):
        raise DataError(f"no readable component {name}", where=str(path), hint=HINT) from None
    if len(values) != declared or not np.isfinite(values).all():
        finite = int(np.isfinite(values).sum())
        raise DataError(
            f"{name} declares {declared} numbers but has {len(values)}, {finite} of them finite",
            where=str(path),
            hint=HINT,
        )
    return values


def cmvn_from_statistics(sums: np.ndarray, squares: np.ndarray, frames: int) -> Cmvn:
    """Means and population variances from sums (D,) and sums of squares (D,) over ``frames`` frames.

    Raises:
        DataError: no frames at all.
    """
    if frames < 1:
        raise DataError("no frames to take feature statistics from", hint="check wav.scp: all audio may be too short")
    mean = np.asarray(sums, np.float64) / frames
    variance = np.maximum(np.asarray(squares, np.float64) / frames - mean**2, 1e-20)
    return Cmvn((-mean).astype(np.float32), (1.0 / np.sqrt(variance)).astype(np.float32))


def write_cmvn(path: Path | str, cmvn: Cmvn) -> None:
    """Write an ``am.mvn`` (temporary name, then renamed)."""
    size = len(cmvn.shift)
    lines = ["<Nnet>", f"<Splice> {size} {size}", "[ 0 ]"]
    for name, values in (("<AddShift>", cmvn.shift), ("<Rescale>", cmvn.scale)):
        lines += [f"{name} {size} {size}", f"<LearnRateCoef> 0 [ {' '.join(repr(float(v)) for v in values)} ]"]
    write_text(path, "\n".join([*lines, "</Nnet>"]) + "\n")
