"""A scored run on disk: ``1best_recog/`` with ``text.ref``, ``text.proc`` and ``text.cer.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError
from funrecipe.score.read import read_texts


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
