"""The model zoo, ``egs/asr/models.yaml``: what is known about each published model id."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from funrecipe.errors import DataError

ZOO_PATH = Path(__file__).resolve().parents[2] / "egs" / "asr" / "models.yaml"
# The hub renamed the first name space; both still answer.
NAMESPACES = {"iic": "damo"}
# Short names of models in FunASR 1.x.
NICKNAMES = {
    "paraformer-zh": "damo/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
    "paraformer-zh-streaming": "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online",
}


@dataclass(frozen=True)
class ZooRow:
    """One model id. ``unsupported`` is the reason why it cannot be used here, or None."""

    id: str
    family: str
    language: str
    sample_rate_hz: int | None
    vocab_size: int | None
    mode: str  # offline | online | two-pass
    license: str
    decode: dict[str, Any] = field(default_factory=dict)
    unsupported: str | None = None


@functools.lru_cache(maxsize=1)
def zoo() -> dict[str, ZooRow]:
    """Rows by id; empty where the package is installed without the recipes.

    Raises:
        DataError: the table is malformed.
    """
    if not ZOO_PATH.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        rows = [ZooRow(**row) for row in yaml.load(ZOO_PATH.read_text(encoding="utf-8"), Loader=loader)]
    except (yaml.YAMLError, TypeError) as error:
        raise DataError(f"the model table is malformed: {error}", where=str(ZOO_PATH)) from None
    return {row.id: row for row in rows}


def canonical_id(model_id: str) -> str:
    """``iic/x`` -> ``damo/x``; a bare name gets the name space of its row, a short name of FunASR its id."""
    if model_id in NICKNAMES:
        return NICKNAMES[model_id]
    namespace, slash, name = model_id.strip("/").rpartition("/")
    if slash:
        return f"{NAMESPACES.get(namespace, namespace)}/{name}"
    return next((known for known in zoo() if known.endswith(f"/{name}")), name)


def find_row(model_id: str) -> ZooRow | None:
    """The row of an id, or of a name without its name space."""
    return zoo().get(canonical_id(model_id))
