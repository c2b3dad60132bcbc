"""The training data of a language model: a file ``text``, no audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.folders import list_in
from funrecipe.train.data.identity import set_fingerprint
from funrecipe.train.data.small import Inspection

KIND = "text"


def inspect_text(data_dir: Path, tokenize: Callable[[str], tuple[int, ...]], *, max_tokens: int) -> Inspection:
    """The usable sentences of ``data_dir/text``, ids in byte order.

    Raises:
        DataError: no such file, or lines that cannot be read.
    """
    texts = read_texts(list_in(data_dir, "text", "one line per sentence: ID SENTENCE"))
    found = Inspection([], total=len(texts))
    found.fingerprint = set_fingerprint((key, text, "") for key, text in texts.items())
    for key in sorted(texts):
        add_text(found, key, tokenize(texts[key]), max_tokens)
    return found


def add_text(found: Inspection, key: str, ids: tuple[int, ...], max_tokens: int, **more: Any) -> None:
    """Put a text of these token ids into ``found.items``, with ``more`` of the item, or into ``found.dropped``."""
    if not ids:
        found.drop("empty text", key)
    elif len(ids) >= max_tokens:
        found.drop(f"text not shorter than {max_tokens} tokens", key)
    else:
        found.items.append(TrainItem(key, "", ids, 0.0, kind=KIND, **more))
