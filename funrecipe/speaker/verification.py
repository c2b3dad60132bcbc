"""Do two recordings have the same speaker? Cosine similarity of embeddings, and a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from funrecipe.model_folder import ModelFolder
from funrecipe.model_folder.files import read_json


@dataclass(frozen=True)
class Verification:
    """Cosine ``score`` in [-1, 1] of two embeddings, and whether it reaches ``threshold``."""

    score: float
    threshold: float

    @property
    def same_speaker(self) -> bool:
        return self.score >= self.threshold

    @property
    def percent(self) -> float:
        """FunASR 0.x's form of the score: 0 up to the threshold, 100 for equal embeddings."""
        return max(self.score - self.threshold, 0.0) / (1.0 - self.threshold) * 100.0


def verify(first: np.ndarray, second: np.ndarray, threshold: float) -> Verification:
    """Compare two embeddings (E,)."""
    return Verification(cosine_similarity(first, second), threshold)


def cosine_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """In [-1, 1]; 0 where one of the vectors is zero."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(first @ second / norm, -1.0, 1.0)) if norm else 0.0


def threshold_of(folder: ModelFolder) -> float:
    """The similarity from which two recordings count as of one speaker: ``configuration.json``, else the family's."""
    path = folder.path / "configuration.json"
    model = (read_json(path) if path.is_file() else {}).get("model")
    said = model.get("yesOrno_thr") if isinstance(model, dict) else None
    if isinstance(said, (int, float)) and -1 < said < 1:
        return float(said)
    return folder.row.threshold or 0.0
