"""A scored run on disk: ``1best_recog/`` with ``text.ref``, ``text.proc`` and ``text.cer.json``.

A score is kept only together with the texts it was computed from: before another pair of texts is scored, what the
folder holds about the earlier pair is removed.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.data.texts import read_texts, text_blocks
from funrecipe.errors import DataError, list_problems
from funrecipe.files import atomic_write, sha256_of
from funrecipe.score.scoring import Edits, cover
from funrecipe.score.stream import sum_coverages, text_parts

AGAIN = "rerun stage 2 (score)"
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
                raise DataError(f"no {name} in {recog}", where=str(path), hint="run stage 2 (score) first")
        return cls(output_dir=recog.parent if recog.name == "1best_recog" else recog, recog=recog)

    def texts(self) -> tuple[dict[str, str], dict[str, str]]:
        return read_texts(self.recog / "text.ref"), read_texts(self.recog / "text.proc")

    def summary(self) -> dict[str, Any]:
        """What ``funrecipe score`` wrote beside ``text.cer``; empty when it did not."""
        return self._read_json("text.cer.json", AGAIN, parts=("protocol", "meta"))

    def check_edits(self, written: Mapping[str, Any], edits: Edits) -> None:
        """Raises DataError if the summary ``written`` has others than ``edits``, counted in the same texts."""
        counted = edits.as_json()
        if written and {name: written.get(name) for name in counted} != counted:
            where = str(self.recog / "text.cer.json")
            raise DataError("the counts are not those of text.ref and text.proc", where=where, hint=AGAIN)

    def speechio(self) -> dict[str, Any] | None:
        """What stage 3 wrote to ``RESULTS.json``; None when it did not run."""
        return self._read_json("RESULTS.json", "rerun stage 3") or None

    def _read_json(self, name: str, hint: str, parts: Sequence[str] = ()) -> dict[str, Any]:
        """An object, whose ``parts`` are objects if they are there."""
        path = self.recog / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=str(path), hint=hint) from None
        if not isinstance(content, dict):
            raise DataError("the content is not an object", where=str(path), hint=hint)
        for part in parts:
            if not isinstance(content.get(part, {}), dict):
                raise DataError(f"{part} is not an object", where=str(path), hint=hint)
        return content


def take_texts(recog: Path, reference: Path, *, is_partial: bool = True) -> tuple[Path, Path]:
    """Copy the reference and the hypotheses of a run to ``text.ref`` and ``text.proc``, which are then scored.

    Args:
        is_partial: the reference may lack results, which are then not scored.

    Raises:
        DataError: one of them is not there, or the reference lacks results. WriteError: the folder cannot be written.
    """
    if not (recog / "text").is_file():
        raise DataError(f"no {recog / 'text'}", where=str(recog), hint="run stage 1 first")
    if not reference.is_file():
        raise DataError("no reference", where=str(reference), hint="give a data directory with text")
    if not is_partial:
        _require_references(recog / "text", reference)
    pairs = {recog / "text.ref": reference, recog / "text.proc": recog / "text"}
    if not all(_is_copy(copy, source) for copy, source in pairs.items()):
        _remove(recog, (*STAGE_2, *STAGE_3))
        for copy, source in pairs.items():
            with atomic_write(copy, "wb") as target, open(source, "rb") as file:
                shutil.copyfileobj(file, target)
    return recog / "text.ref", recog / "text.proc"


def _require_references(results: Path, reference: Path) -> None:
    """Stage 0 checked the lists before decoding; a text truncated since then would score only a part."""
    parts = text_parts(text_blocks(reference), text_blocks(results))
    coverage = sum_coverages([cover(refs, hyps, "strict")[1] for refs, hyps in parts])
    missing = coverage.without_reference
    if missing:
        raise DataError(
            f"{len(missing)} of {coverage.hypotheses} results have no text\n{list_problems(missing)}",
            where=str(reference),
            hint="complete it, or pass --partial_text true to score those that have one",
        )


def state_of_scores(recog: Path) -> list[str]:
    """A stamp of the scores in the folder, which a report depends on; it changes when they do."""
    return [sha256_of(path) if (path := recog / name).is_file() else "" for name in (*STAGE_2, *STAGE_3)]


def _is_copy(copy: Path, source: Path) -> bool:
    return copy.is_file() and filecmp.cmp(copy, source, shallow=False)


def _remove(recog: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (recog / name).unlink(missing_ok=True)
