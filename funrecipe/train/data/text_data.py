"""The training data of a language model: a file ``text``, no audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from funrecipe.data.list_file import Problem, read_list_file, unique_lines
from funrecipe.errors import DataError, UsageError, list_problems
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.identity import set_fingerprint
from funrecipe.train.data.small import Inspection

KIND = "text"


def inspect_text(data_dir: Path, tokenize: Callable[[str], tuple[int, ...]], *, max_tokens: int) -> Inspection:
    """The usable sentences of ``data_dir/text``, ids in byte order.

    Raises:
        DataError: no such file, or lines that cannot be read.
    """
    path, problems = data_dir / "text", list[Problem]()
    lines = unique_lines(read_list_file(path, problems), path, problems)
    if errors := [str(problem) for problem in problems if problem.is_error]:
        raise DataError(f"{len(errors)} lines cannot be used\n{list_problems(errors)}", where=str(path))
    found = Inspection([], total=len(lines))
    found.fingerprint = set_fingerprint((key, line.value, "") for key, line in lines.items())
    for key in sorted(lines):
        ids = tokenize(lines[key].value)
        if not ids:
            found.drop("empty text", key)
        elif len(ids) >= max_tokens:
            found.drop(f"text not shorter than {max_tokens} tokens", key)
        else:
            found.items.append(TrainItem(key, "", ids, 0.0, kind=KIND))
    return found


def check_unit(unit: str, dataset_type: str) -> None:
    """Sentences have no duration to count. Raises UsageError."""
    if unit not in ("tokens", "utterances") or dataset_type != "small":
        raise UsageError(
            f"a language model cannot be trained with batch_unit {unit} and dataset_type {dataset_type}",
            hint="batch_unit: tokens (or utterances), dataset_type: small",
        )
