"""Marks for many texts, in several processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import torch

from funrecipe.model_folder import open_model_folder
from funrecipe.punctuation.punctuator import Punctuator, check_rules, load_punctuator

CHUNK_TEXTS = 16


def punctuate_texts(
    texts: Sequence[str], folder: Path, *, weights: Path | None = None, rules: str = "0.7", processes: int = 1
) -> list[str]:
    """The texts with marks, in order; the same for any number of processes. Raises as :func:`load_punctuator`."""
    check_rules(rules)
    _punctuator(folder, weights)  # errors of the model are raised here
    columns = [texts, *([value] * len(texts) for value in (folder, weights, rules))]
    if processes == 1 or len(texts) <= CHUNK_TEXTS:
        return list(map(_punctuate, *columns))
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(_punctuate, *columns, chunksize=CHUNK_TEXTS))


@lru_cache(maxsize=1)
def _punctuator(folder: Path, weights: Path | None) -> Punctuator:
    return load_punctuator(open_model_folder(folder), weights=weights)


def _punctuate(text: str, folder: Path, weights: Path | None, rules: str) -> str:
    return _punctuator(folder, weights).punctuate(text, rules).text
