"""Losses and accuracy that several families share. Targets are padded with ``IGNORE_ID``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from funrecipe.models.special_ids import EOS_ID

IGNORE_ID = -1


def label_smoothing_loss(logits: Tensor, targets: Tensor, smoothing: float, denominator: float | Tensor) -> Tensor:
    """Kullback-Leibler divergence to ``1 - s`` on the target and ``s / (V - 1)`` elsewhere.

    Source: ESPnet's ``LabelSmoothingLoss``.

    Args:
        logits: (B, U, V) before softmax.
        targets: (B, U), ``IGNORE_ID`` where nothing is expected.
        smoothing: s in [0, 1).
        denominator: number of tokens (length-normalized) or of utterances.

    Returns:
        The sum over tokens divided by ``denominator``, a scalar.
    """
    vocab_size = logits.size(-1)
    wanted = targets.ne(IGNORE_ID)
    # Float32 whatever autocast chose: a sum over a large vocabulary loses too much in bf16.
    log_probs = F.log_softmax(logits[wanted].float(), dim=-1)
    on_target = log_probs.gather(1, targets[wanted].unsqueeze(1)).squeeze(1)
    if smoothing == 0.0:
        return -on_target.sum() / denominator
    low = smoothing / (vocab_size - 1)
    high = 1.0 - smoothing
    entropy = high * torch.log(torch.tensor(high)) + smoothing * torch.log(torch.tensor(low))
    cross = -(high - low) * on_target - low * log_probs.sum(dim=-1)
    return (cross + entropy.to(cross)).sum() / denominator


def quantity_loss(token_num: Tensor, target_lens: Tensor, denominator: float) -> Tensor:
    """Sum of |predicted - wanted| number of tokens, divided by ``denominator``."""
    return (token_num.float() - target_lens.to(token_num.device)).abs().sum() / denominator


def token_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of expected positions whose arg-max is the target, a scalar; 0 where none is expected."""
    wanted = targets.ne(IGNORE_ID)
    correct = logits.argmax(-1).eq(targets) & wanted
    return correct.sum().double() / wanted.sum().clamp(min=1)


def ctc_loss(
    logits: Tensor, logit_lens: Tensor, targets: Tensor, target_lens: Tensor, denominator: float | Tensor
) -> Tensor:
    """CTC (Graves et al. 2006), blank 0, summed over utterances and divided by ``denominator`` (utterances).

    An utterance that is too short for its text would have an infinite loss; it contributes zero instead.

    Args:
        logits: (B, T, V) before softmax.
        logit_lens: (B,).
        targets: (B, U), padding is ``IGNORE_ID``.
        target_lens: (B,).
    """
    log_probs = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    flat = targets[targets.ne(IGNORE_ID)]
    total = F.ctc_loss(log_probs, flat, logit_lens, target_lens, blank=0, reduction="sum", zero_infinity=True)
    return total / denominator


def append_eos(text: Tensor, text_lens: Tensor, bias: int) -> tuple[Tensor, Tensor]:
    """With ``bias`` 1, end of sentence after every target, so that CIF learns to fire once more for it."""
    if bias == 0:
        return text, text_lens
    longer = F.pad(text, (0, 1), value=IGNORE_ID)
    return longer.scatter(1, text_lens[:, None], EOS_ID), text_lens + 1
