"""What ``pipeline()`` was given, the same for every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.audio.settings import AudioSettings
from funrecipe.errors import UsageError
from funrecipe.hub import open_model
from funrecipe.model_folder import ModelFolder
from funrecipe.pipelines.audio import AudioSources
from funrecipe.pipelines.calls import check_revision, prepare_device


@dataclass(frozen=True)
class Setup:
    """The arguments of :func:`funrecipe.pipelines.pipeline`, which says what they mean."""

    model: str | Path
    ngpu: int
    ncpu: int
    output_dir: Path | None
    batch_size: int
    param_dict: Mapping[str, Any]
    mode: str | None
    model_revision: str | None
    weights: Path | None
    allow_network: bool
    audio: AudioSettings

    def device(self) -> str:
        """Where to compute; sets torch's threads on a CPU. Raises UsageError."""
        return prepare_device(self.ngpu, self.ncpu, self.batch_size)

    def open_folder(self) -> ModelFolder:
        """The model's folder, in the revision that was asked for. Raises UsageError, DataError."""
        folder = open_model(self.model)
        check_revision(folder.path, self.model_revision)
        return folder

    def sources(self, sample_rate_hz: int) -> AudioSources:
        """How audio is read."""
        return AudioSources(sample_rate_hz, self.audio, self.allow_network, self.output_dir)

    def check_mode(self, what: str, *modes: str) -> None:
        """Raise a UsageError unless ``mode``, if it is given, is one of ``modes``; ``what`` names the model."""
        if self.mode not in (None, *modes):
            hint = f"use one of: {', '.join(modes)}" if modes else "leave it out"
            raise UsageError(f"{what} has no mode '{self.mode}'", where="mode", hint=hint)
