"""FSMN-VAD as exported."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from funrecipe.models.onnx import OnnxModel


class OnnxVad:
    """What a ``VoiceActivityDetector`` calls of an ``FsmnVad``; memories have the graph's form."""

    def __init__(self, path: Path) -> None:
        self.model = OnnxModel(path)

    def start(self) -> list[Tensor]:
        """The memory before the first frame: (1, P, L, 1) zeros per block."""
        return [torch.zeros(1, *shape[1:]) for shape in self.model.input_shapes[1:]]

    def __call__(self, feats: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """``feats`` (1, T, F) -> posteriors (1, T, C), and the memory for the frames that follow."""
        posteriors, *after = self.model(feats, *memory)
        return posteriors, after
