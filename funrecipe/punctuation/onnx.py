"""CT-Transformer as exported."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from funrecipe.models.onnx import OnnxModel


class OnnxPunctuation:
    """What a ``Punctuator`` calls of a ``CTTransformer``."""

    def __init__(self, path: Path) -> None:
        self.model = OnnxModel(path)
        self.realtime = len(self.model.names) > 2

    def __call__(self, ids: Tensor, lens: Tensor, known: int = 0) -> Tensor:
        """``ids`` (1, U), ``lens`` (1,) -> logits (1, U, marks); ``known`` as in ``CTTransformer``."""
        size = ids.size(1)
        corner = torch.ones(1, 1, size, size)
        if 0 < known < size:
            corner[:, :, : known - 1, known:] = 0
        masks = (corner, torch.ones_like(corner).tril()) if self.realtime else ()
        return self.model(ids, lens, *masks)[0]
