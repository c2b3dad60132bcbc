"""Error rates, intervals and reports; no torch.

>>> from funrecipe.score import score_texts
>>> score = score_texts({"a": "今天天气好", "b": "你好"}, {"a": "今天天汽好", "b": "你好"})
>>> print(f"{score.edits.rate:.2f} %, {score.edits.substitutions} substitution")
14.29 %, 1 substitution
>>> score.coverage.missing
()
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {"score_texts": "scoring", "Scoring": "scoring", "Edits": "scoring", "Coverage": "scoring"}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'funrecipe.score' has no attribute {name!r}")
    return getattr(importlib.import_module(f"funrecipe.score.{_PUBLIC[name]}"), name)
