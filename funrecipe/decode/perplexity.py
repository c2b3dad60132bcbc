"""How well a language model predicts sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from funrecipe.decode.ngram import NgramModel
from funrecipe.models.lm import LanguageModel

BATCH_TOKENS = 4000


@dataclass(frozen=True)
class SentenceScore:
    """Natural log-probability of a sentence with its end, and the tokens that were predicted (the end counts)."""

    log_prob: float
    n_tokens: int

    @property
    def perplexity(self) -> float:
        return math.exp(min(-self.log_prob / self.n_tokens, 700.0))


@torch.inference_mode()
def score_sentences(model: LanguageModel | NgramModel, sentences: Sequence[Sequence[int]]) -> list[SentenceScore]:
    """The score of every sentence (token ids without sos and eos); batches of similar length, results in order."""
    if isinstance(model, NgramModel):
        return [SentenceScore(model.score(ids), len(ids) + 1) for ids in sentences]
    scores: dict[int, SentenceScore] = {}
    for rows in batches_by_length([len(ids) + 1 for ids in sentences]):
        lens = torch.tensor([len(sentences[row]) for row in rows])
        tokens = pad_sequence([torch.tensor(sentences[row], dtype=torch.long) for row in rows], batch_first=True)
        nll, _ = model.nll(tokens, lens)
        for row, value in zip(rows, nll.double().sum(1).tolist(), strict=True):
            scores[row] = SentenceScore(-value, len(sentences[row]) + 1)
    return [scores[row] for row in range(len(sentences))]


def total_score(scores: Sequence[SentenceScore]) -> SentenceScore:
    """The sum over all sentences: perplexity is per token, not averaged over sentences."""
    return SentenceScore(sum(score.log_prob for score in scores), max(1, sum(score.n_tokens for score in scores)))


def batches_by_length(sizes: Sequence[int]) -> list[list[int]]:
    """Rows grouped so that a padded batch holds at most ``BATCH_TOKENS``."""
    batches: list[list[int]] = []
    for row in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batches and (len(batches[-1]) + 1) * sizes[row] <= BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
