"""Searches of the Paraformer family: all tokens at once, the best at every position."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.model_folder import ModelFolder

BLANK_ID, EOS_ID = 0, 2


class ParaformerSearch:
    """Arg-max per position; blank and eos are removed from the result but count in its score."""

    honours: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model = model

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.families.Search`; an utterance without tokens gives an empty hypothesis."""
        log_probs, token_lens = self.model(feats, feat_lens)
        return [[hypothesis] for hypothesis in greedy(log_probs, token_lens)]


def greedy(log_probs: Tensor, token_lens: Tensor) -> list[TokenHypothesis]:
    """``log_probs (B, U, V)``, ``token_lens (B,)`` -> one hypothesis each; the score sums over ``token_lens``."""
    best = log_probs.max(dim=-1)
    counted = torch.arange(log_probs.size(1), device=log_probs.device) < token_lens[:, None]
    scores = (best.values.double() * counted).sum(dim=1).tolist()
    return [
        TokenHypothesis([i for i in ids[:length] if i not in (BLANK_ID, EOS_ID)], score)
        for ids, length, score in zip(best.indices.tolist(), token_lens.tolist(), scores)
    ]
