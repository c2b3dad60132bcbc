"""Full scorers of the joint beam search: attention decoder, language model, acoustic scores of a parallel decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from funrecipe.models.lm import SequentialRNNLM, TransformerLM
from funrecipe.models.transformer import DecoderMemory, TransformerDecoder


@dataclass(frozen=True)
class DecoderScorer:
    """Attention decoder over encoder frames, with cached keys and values."""

    decoder: TransformerDecoder
    memory: DecoderMemory
    weight: float
    name: str = "decoder"

    def start(self, batch: int) -> list[Tensor]:
        return self.decoder.start(batch, self.memory.mask.device)

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        return self.decoder.step(tokens, state, self.memory)

    def rows(self, rows: Tensor) -> DecoderScorer:
        return DecoderScorer(self.decoder, self.memory.rows(rows), self.weight)


@dataclass(frozen=True)
class LMScorer:
    """Shallow fusion with a language model (Gulcehre et al. 2015)."""

    lm: TransformerLM | SequentialRNNLM
    weight: float
    name: str = "lm"

    def start(self, batch: int) -> list[Tensor]:
        return self.lm.start(batch, next(self.lm.parameters()).device)

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        return self.lm.step(tokens, state)

    def rows(self, rows: Tensor) -> LMScorer:
        return self


@dataclass(frozen=True)
class AcousticScorer:
    """The log-probabilities (B, U, V) that a parallel decoder gave position by position."""

    log_probs: Tensor
    weight: float = 1.0
    name: str = "am"

    def start(self, batch: int) -> list[Tensor]:
        return []

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        return self.log_probs[:, position : position + 1], state

    def rows(self, rows: Tensor) -> AcousticScorer:
        return AcousticScorer(self.log_probs[rows])


def lm_scorers(lm: torch.nn.Module | None, weight: float) -> list[LMScorer]:
    """The scorer of a LanguageModel, none without one or without weight."""
    return [LMScorer(lm.lm, weight)] if lm is not None and weight else []
