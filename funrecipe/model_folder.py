"""A model folder on disk -> one typed, torch-free description of it.

Two layouts exist: the ModelScope 0.x folder (``configuration.json`` names ``model.pb``,
``config.yaml``, ``am.mvn``; tokens in the config or ``tokens.{txt,json}``) and the FunASR 1.x
folder (``model.pt``, ``config.yaml`` with class names). Whatever the layout, ``config`` below
uses the 0.x key names, so that models and decoders know one vocabulary only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder says about itself. Paths are absolute; optional files are None."""

    path: Path
    layout: str  # "0.x" | "1.x"
    mode: str  # configuration.json: paraformer, paraformer_streaming, uniasr, asr, rnnt, ...
    config: dict[str, Any]  # config.yaml with 0.x key names
    tokens: tuple[str, ...]
    weights: Path
    cmvn: Path | None = None
    seg_dict: Path | None = None
    bpe_model: Path | None = None
    decoding: dict[str, Any] = field(default_factory=dict)  # decoding.yaml
    lm_config: Path | None = None
    lm_weights: Path | None = None

    @property
    def family(self) -> str:
        """The architecture: the config's ``model`` key (paraformer, uniasr, asr, rnnt, ...)."""
        return str(self.config.get("model", "asr"))

    @property
    def sample_rate_hz(self) -> int:
        return int((self.config.get("frontend_conf") or {}).get("fs", 16000))
