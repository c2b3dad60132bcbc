"""One golden case: its files, its arrays, and the record of what was compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml


class Case:
    """A folder with ``io.npz`` (``in.*`` and ``out.*`` arrays) and model files.

    Attributes:
        path: the folder.
        data_root: where ``data/models/...`` lies, for cases that refer to real weights.
        inputs: array by key, without the leading ``in.``.
        expected: array by key, without the leading ``out.``.
        rows: (key, largest difference, tolerance, passed, note) of every comparison so far.
    """

    def __init__(self, path: Path, data_root: Path) -> None:
        self.path, self.data_root = path, data_root
        self.inputs: dict[str, np.ndarray] = {}
        self.expected: dict[str, np.ndarray] = {}
        with np.load(path / "io.npz", allow_pickle=False) as arrays:
            for key in arrays.files:
                group, _, name = key.partition(".")
                {"in": self.inputs, "out": self.expected}[group][name] = arrays[key]
        self.rows: list[tuple[str, float, float, bool, str]] = []
        self._named: set[str] = set()

    def yaml(self, name: str) -> Any:
        return yaml.safe_load((self.path / name).read_text(encoding="utf-8"))

    def json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def waveform(self, key: str) -> np.ndarray:
        """An int16 input waveform as float32 in [-1, 1)."""
        return self.inputs[key].astype(np.float32) / 32768.0

    def compare(self, key: str, ours: Any, tolerance: float = 0.0, *, relative: bool = False, note: str = "") -> bool:
        """Record whether ``ours`` equals ``expected[key]`` within ``tolerance`` (0: exactly). A missing key fails."""
        self._named.add(key)
        if key not in self.expected:
            return self._record(key, float("inf"), tolerance, f"no such array in io.npz; {note}")
        theirs = self.expected[key]
        ours = np.asarray(ours.detach().cpu() if hasattr(ours, "detach") else ours)
        if ours.shape != theirs.shape:
            return self._record(key, float("inf"), tolerance, f"shape {ours.shape}, expected {theirs.shape}; {note}")
        return self._record(key, largest_difference(ours, theirs, relative=relative), tolerance, note)

    def compare_values(self, key: str, ours: Any, theirs: Any, tolerance: float = 0.0, note: str = "") -> bool:
        """Compare with a value that is not an array of io.npz (a JSON text, an offline reference)."""
        self._named.add(key)
        if isinstance(ours, str) or isinstance(theirs, str) or tolerance == 0.0:
            exact = isinstance(ours, (str, list, dict))
            equal = bool(ours == theirs if exact else np.array_equal(np.asarray(ours), np.asarray(theirs)))
            remark = note if equal else f"{ours!r} != {theirs!r}; {note}"
            return self._record(key, 0.0 if equal else float("inf"), 0.0, remark)
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape:
            return self._record(key, float("inf"), tolerance, f"shape {ours.shape}, expected {theirs.shape}; {note}")
        return self._record(key, largest_difference(ours, theirs), tolerance, note)

    def covered(self, key: str, note: str) -> None:
        """Say that an array is deliberately not compared, and why (a defect of the original, an intermediate)."""
        self._named.add(key)
        self.rows.append((key, 0.0, 0.0, True, f"not compared: {note}"))

    def unimplemented(self) -> list[str]:
        return sorted(set(self.expected) - self._named)

    def _record(self, key: str, difference: float, tolerance: float, note: str) -> bool:
        passed = bool(difference <= tolerance)
        self.rows.append((key, difference, tolerance, passed, note))
        return passed


def largest_difference(ours: np.ndarray, theirs: np.ndarray, *, relative: bool = False) -> float:
    """max |ours - theirs|, relative to max(|theirs|, 1e-12) if asked; NaN and unequal infinities count as infinite."""
    if ours.size == 0:
        return 0.0
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = ours == theirs
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(ours - theirs)
        if relative:
            difference = difference / np.maximum(np.abs(theirs), 1e-12)
    difference = np.where(same, 0.0, difference)
    return float("inf") if np.isnan(difference).any() else float(difference.max())
