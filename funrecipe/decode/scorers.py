"""Full scorers of the joint beam search: attention decoder, language model, acoustic scores of a parallel decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from funrecipe.models.transformer import DecoderMemory, TransformerDecoder
from funrecipe.models.uniasr import ScamaDecoder, ScamaMemory


@dataclass(frozen=True)
class DecoderScorer:
    """A decoder that attends to encoder frames, with what it needs of them."""

    decoder: TransformerDecoder | ScamaDecoder
    memory: DecoderMemory | ScamaMemory
    weight: float
    name: str = "decoder"

    def start(self, batch: int) -> list[Tensor]:
        return self.decoder.start(batch, self.decoder.embed[0].weight.device)

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        return self.decoder.step(tokens, state, self.memory, position)

    def rows(self, rows: Tensor) -> DecoderScorer:
        return DecoderScorer(self.decoder, self.memory.rows(rows), self.weight)


class TokenModel(Protocol):
    """A scorer of the next token that sees only the tokens: neural and n-gram language models, hotwords."""

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis per utterance; every tensor begins with (B, 1)."""

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """``tokens`` (B, K), beginning with sos -> scores (B, K, V) and the state after them."""


@dataclass(frozen=True)
class LMScorer:
    """Shallow fusion (Gulcehre et al. 2015) with a language model, or with anything else that scores tokens."""

    lm: TokenModel
    weight: float
    device: torch.device
    name: str = "lm"

    def start(self, batch: int) -> list[Tensor]:
        return self.lm.start(batch, self.device)

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
