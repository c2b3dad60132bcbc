"""A scored run on disk: ``1best_recog/`` with ``text.ref``, ``text.proc`` and ``text.cer.json``.

Scores stand beside the texts that they are of, or not at all: before another pair of texts is scored, what the folder
holds about the earlier pair goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError
from funrecipe.files import atomic_write, sha256_of
from funrecipe.score.read import read_texts

STAGE_2 = ("text.cer", "text.cer.json")
STAGE_3 = ("ref.txt", "DETAILS.txt", "RESULTS.txt", "RESULTS.json", "RESULTS.strict.txt")


@dataclass(frozen=True)
class ResultFolder:
    """``recog`` holds the merged results; ``output_dir`` (its parent, as a rule) the shards and the plan."""

    output_dir: Path
    recog: Path

    @classmethod
    def open(cls, path: Path | str) -> ResultFolder:
        """``path`` is the output_dir of a recipe or its ``1best_recog``; raises ``DataError`` when it is neither."""
        path = Path(path)
        recog = path / "1best_recog" if (path / "1best_recog").is_dir() else path
        for name in ("text.ref", "text.proc"):
            if not (recog / name).is_file():
                raise DataError(f"there is no {name} in {recog}", where=str(path), hint="run stage 2 (score) first")
        return cls(output_dir=recog.parent if recog.name == "1best_recog" else recog, recog=recog)

    def texts(self) -> tuple[dict[str, str], dict[str, str]]:
        return read_texts(self.recog / "text.ref"), read_texts(self.recog / "text.proc")

    def summary(self) -> dict[str, Any]:
        """What ``funrecipe score`` wrote beside ``text.cer``; empty when it did not."""
        return self._read_json("text.cer.json", "run stage 2 (score) again")

    def speechio(self) -> dict[str, Any] | None:
        """What stage 3 wrote to ``RESULTS.json``; None when it did not run."""
        return self._read_json("RESULTS.json", "run stage 3 again") or None

    def _read_json(self, name: str, hint: str) -> dict[str, Any]:
        path = self.recog / name
        if not path.is_file():
            return {}
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=str(path), hint=hint) from None


def take_texts(recog: Path, reference: Path) -> tuple[Path, Path]:
    """Copy the reference and the hypotheses of a run to ``text.ref`` and ``text.proc``, which are then scored.

    Raises:
        DataError: one of them is not there. WriteError: the folder cannot be written.
    """
    if not (recog / "text").is_file():
        raise DataError(f"there is no {recog / 'text'}", where=str(recog), hint="run stage 1 first")
    if not reference.is_file():
        raise DataError("there is no reference", where=str(reference), hint="give a data directory with text")
    pairs = {recog / "text.ref": reference, recog / "text.proc": recog / "text"}
    if not all(_is_copy(copy, source) for copy, source in pairs.items()):
        _remove(recog, (*STAGE_2, *STAGE_3))
        for copy, source in pairs.items():
            with atomic_write(copy, "wb") as target:
                target.write(source.read_bytes())
    return recog / "text.ref", recog / "text.proc"


def state_of_scores(recog: Path) -> list[str]:
    """Changes when a score in the folder changes: what a report on them depends on."""
    return [sha256_of(path) if (path := recog / name).is_file() else "" for name in (*STAGE_2, *STAGE_3)]


def _is_copy(copy: Path, source: Path) -> bool:
    return copy.is_file() and copy.read_bytes() == source.read_bytes()


def _remove(recog: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (recog / name).unlink(missing_ok=True)
