"""The models that go with a recognizer: ``auto`` is what its ``configuration.json`` names."""

from __future__ import annotations

import logging
from pathlib import Path

from funrecipe.errors import UsageError
from funrecipe.hub.client import recorded_revision
from funrecipe.hub.resolve import open_model
from funrecipe.model_folder import ModelFolder

logger = logging.getLogger(__name__)

AUTO = "auto"


def open_companion(name: str | Path, role: str, recognizer: ModelFolder | str | Path | None) -> ModelFolder:
    """The model ``name`` (folder or id), or with ``auto`` the one that the recognizer's configuration names.

    Args:
        role: ``vad_model``, ``punc_model`` or ``spk_model``.

    Raises:
        UsageError: ``auto``, and nothing is named. DataError, UnsafeFileError: as :func:`open_model`.
    """
    if name != AUTO:
        return open_model(name)
    if recognizer is None:
        raise UsageError(f"{role} is {AUTO}, but no recognizer is given", where=f"--{role}", hint="pass its --model")
    folder = recognizer if isinstance(recognizer, ModelFolder) else open_model(recognizer)
    if role not in folder.companions:
        where = str(folder.path / "configuration.json")
        raise UsageError(f"{role} is {AUTO}, but the recognizer names none", where=where, hint="give a folder or an id")
    found = open_model(folder.companions[role])
    wanted, there = folder.companions.get(f"{role}_revision"), recorded_revision(found.path)
    if wanted and there and wanted != there:
        logger.warning("%s: revision '%s' is on disk, the recognizer names '%s'", found.path, there, wanted)
    return found
