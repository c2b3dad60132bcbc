"""Beam search over Paraformer's parallel log-probabilities with CTC and a language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch
from funrecipe.decode.ctc_prefix import CTCPrefixScorer
from funrecipe.decode.scorers import AcousticScorer, LMScorer
from funrecipe.models.special_ids import EOS_ID

# The least share of the predicted tokens in a text, if minlenratio is not set; CTC also discourages an early end.
LEAST_SHARE, LEAST_SHARE_WITH_CTC = 0.9, 0.8


def paraformer_beam_search(
    log_probs: Tensor,
    token_lens: Tensor,
    options: BeamOptions,
    fusion: Sequence[LMScorer] = (),
    *,
    ctc_log_probs: Tensor | None = None,
    ctc_lens: Tensor | None = None,
) -> list[list[BeamHypothesis]]:
    """Search one token per predicted position; the decoder counts with weight 1. FunASR: BeamSearchPara.

    Every token costs, so language models with a large weight favor short texts, and only CTC discourages an
    early end. Unlike in FunASR, a text therefore ends no sooner than after ``minlenratio`` (0: ``LEAST_SHARE``) of the
    tokens that the model predicts.

    Args:
        log_probs: (B, U, V) of the parallel decoder.
        token_lens: (B,) int64, positions of each utterance; the text ends there at the latest.
        options: beam size and weights; ``minlenratio`` is a share of the predicted tokens, and a ``maxlenratio``
            other than 0 only turns the end detection off.
        fusion: language models.
        ctc_log_probs, ctc_lens: (B, T, V), (B,) of the CTC head; needed if ``options.ctc_weight`` > 0.

    Returns:
        Every ended hypothesis of each utterance, best first; none where no token was predicted.
    """
    least = (options.minlenratio * token_lens).long() if options.minlenratio else default_least(token_lens, options)
    is_early = torch.arange(log_probs.size(1), device=log_probs.device) < least.unsqueeze(1)
    log_probs = log_probs.clone()
    log_probs[..., EOS_ID].masked_fill_(is_early, -torch.inf)
    scorers = [AcousticScorer(log_probs), *fusion]
    ctc = CTCPrefixScorer(ctc_log_probs, ctc_lens, EOS_ID) if options.ctc_weight > 0 else None
    search = JointBeamSearch(scorers, ctc, options, vocab_size=log_probs.size(-1))
    return search.run(token_lens.tolist(), log_probs.device)


def default_least(token_lens: Tensor, options: BeamOptions) -> Tensor:
    """The least number of tokens (B,) of a text; the last of ``token_lens`` positions is that of its end."""
    share = LEAST_SHARE_WITH_CTC if options.ctc_weight > 0 else LEAST_SHARE
    tokens = token_lens - 1
    return torch.where(tokens > 0, (share * tokens).long().clamp(min=1), 0)
