"""The models that go with a recognizer: ``auto`` is what its ``configuration.json`` names."""

from __future__ import annotations

import logging
from pathlib import Path

from funrecipe.errors import UsageError
from funrecipe.families import PUNCTUATION, SPEAKER, VAD, find_family
from funrecipe.hub.client import recorded_revision
from funrecipe.hub.resolve import open_model
from funrecipe.model_folder import ModelFolder

logger = logging.getLogger(__name__)

AUTO = "auto"
TASKS = {"vad_model": VAD, "punc_model": PUNCTUATION, "spk_model": SPEAKER}


def open_companion(name: str | Path, role: str, recognizer: ModelFolder | str | Path | None) -> ModelFolder:
    """The model ``name`` (folder or id), or with ``auto`` the one that the recognizer's configuration names.

    Args:
        role: ``vad_model``, ``punc_model`` or ``spk_model``.

    Raises:
        UsageError: ``auto``, and nothing is named; a model for something else.
        DataError, UnsafeFileError: as :func:`open_model`.
    """
    if name != AUTO:
        return _of_task(open_model(name), role)
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
    return _of_task(found, role)


def _of_task(folder: ModelFolder, role: str) -> ModelFolder:
    task = find_family(folder.family).task
    if task != TASKS[role]:
        raise UsageError(
            f"a model of family '{folder.family}' is for {task}, not for {TASKS[role]}",
            where=f"--{role}: {folder.path}",
            hint=f"give a model for {TASKS[role]} (docs/models.md)",
        )
    return folder
