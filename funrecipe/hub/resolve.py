"""Model id -> local folder. Nothing here uses the network; ``funrecipe download`` does (``hub.client``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from funrecipe.errors import DataError, UsageError, did_you_mean
from funrecipe.families import names_with
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.model_folder.zoo import NAMESPACES, canonical_id, find_row, zoo

DESCRIPTIONS = ("configuration.json", "config.yaml")


def models_dir() -> Path:
    """Where ``funrecipe download`` puts models: ``$FUNRECIPE_MODELS``, else ``~/.cache/funrecipe/models``."""
    return Path(os.environ.get("FUNRECIPE_MODELS") or Path.home() / ".cache/funrecipe/models").expanduser()


def open_model(model: str | Path) -> ModelFolder:
    """The folder of a path or an id, opened; see ``resolve_model`` and ``open_model_folder`` for the errors."""
    return open_model_folder(resolve_model(model))


def resolve_model(model: str | Path, *, pretrained: bool = False) -> Path:
    """A model folder from a path, an id of the zoo, or any id that is on disk.

    ``pretrained``: also accept encoders that do not recognize by themselves.

    Raises:
        UsageError: the zoo lists the model as not supported; says why.
        DataError: no such folder, or the model is not on disk; names the command to get it, and models on disk.
    """
    text = str(model)
    if not isinstance(model, (str, Path)) or not text.strip():
        raise UsageError(f"the model is {model!r}", where="model", hint="give a folder or an id such as damo/NAME")
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise DataError(f"no model folder '{text}'", hint="give a folder or an id such as damo/NAME")
    model_id = canonical_id(text)
    row = find_row(model_id)
    if row is not None and row.unsupported and not (pretrained and row.family in names_with("starts_training")):
        reason = f"the model '{row.id}' is not supported: {row.unsupported}"
        raise UsageError(reason, hint=_supported_alternative(row.mode))
    for candidate in _candidates(model_id):
        if any((candidate / name).is_file() for name in DESCRIPTIONS):
            return candidate
    raise _not_on_disk(text, model_id, known=row is not None)


def _not_on_disk(text: str, model_id: str, *, known: bool) -> DataError:
    """An id of the zoo can be downloaded; anything else is a typo of one, or a folder that is not there."""
    there = f"\n  on disk: {', '.join(models_on_disk()) or 'none'}"
    if known:
        return DataError(f"the model '{text}' is not on disk", hint=f"get it: funrecipe download {model_id}{there}")
    guess = did_you_mean(model_id, zoo())
    hint = guess or f"correct the path; for an id outside the zoo: funrecipe download {model_id}"
    return DataError(f"no model folder '{text}', and the zoo has no such id", hint=hint + there)


def models_on_disk() -> list[str]:
    """Ids of all models in the cache folders, sorted."""
    found = set()
    for root in _cache_roots():
        for name in DESCRIPTIONS:
            for path in root.glob(f"*/*/{name}"):
                folder = path.parent
                found.add(canonical_id(f"{folder.parent.name}/{folder.name.replace('___', '.')}"))
    return sorted(found)


def _cache_roots() -> Iterator[Path]:
    """Our folder, then every place where a release of ModelScope's client keeps models."""
    yield models_dir()
    home = Path.home() / ".cache/modelscope"
    for base in (os.environ.get("MODELSCOPE_CACHE") or home, home):
        root = Path(base).expanduser()
        yield from (root / "models", root / "hub/models", root / "hub", root)


def _candidates(model_id: str) -> Iterator[Path]:
    namespace, _, name = model_id.rpartition("/")
    same = [old for old, new in NAMESPACES.items() if new == namespace]
    for root in _cache_roots():
        for space in (namespace, *same):
            yield root / space / name
            yield root / space / name.replace(".", "___")  # how ModelScope's client writes a dot


def _supported_alternative(mode: str) -> str:
    example = next((row.id for row in zoo().values() if not row.unsupported and row.mode == mode), None)
    return f"use for example {example}" if example else "choose one from egs/asr/models.yaml"
