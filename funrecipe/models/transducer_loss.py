"""RNN transducer loss (Graves 2012, arXiv:1211.3711) in plain torch.

Two things keep it small and fast: the joint network runs one utterance at a time and is computed again in the
backward pass, so that frames x labels x vocabulary is never held for a batch; and the forward-backward recursion loops
over frames only, since along the labels it is a cumulative log-sum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from funrecipe.models.special_ids import BLANK_ID

LOG_ZERO = -1e30


def transducer_loss(
    joint_network: nn.Module,
    encoder_out: Tensor,
    encoder_out_lens: Tensor,
    prediction: Tensor,
    labels: Tensor,
    label_lens: Tensor,
    *,
    fastemit_lambda: float = 0.0,
) -> Tensor:
    """Negative log-probability of each label sequence (B,).

    Args:
        joint_network: maps (T, 1, D) and (1, U + 1, H) to logits (T, U + 1, V).
        encoder_out, encoder_out_lens: (B, T, D), (B,), every length >= 1.
        prediction: (B, U + 1, H), the prediction network's output for blank and the labels.
        labels, label_lens: (B, U), padding of any value; (B,).
        fastemit_lambda: weight of FastEmit (arXiv:2010.11148): scales the gradient of emissions by 1 + lambda.
    """
    kernel = torchaudio_loss() if encoder_out.is_cuda and fastemit_lambda == 0.0 else None
    losses = []
    for row, (frames, count) in enumerate(zip(encoder_out_lens.tolist(), label_lens.tolist(), strict=True)):
        utterance = encoder_out[row, :frames], prediction[row, : count + 1], labels[row, :count]
        if kernel and count:
            losses.append(checkpoint(loss_by_kernel, kernel, joint_network, *utterance, use_reentrant=False))
            continue
        blank, emit = checkpoint(arc_log_probs, joint_network, *utterance, use_reentrant=False)
        losses.append(LatticeLoss.apply(blank, emit, fastemit_lambda))
    return torch.stack(losses)


@functools.cache
def torchaudio_loss() -> Callable[..., Tensor] | None:
    """``torchaudio.functional.rnnt_loss``, one kernel on a GPU where the recursion here is two per frame; None where
    torchaudio is not installed, or is built for another torch."""
    try:
        from torchaudio.functional import rnnt_loss
    except (ImportError, OSError, RuntimeError, AttributeError):  # also of a build for another torch or CUDA
        return None
    return cast(Callable[..., Tensor], rnnt_loss)


def loss_by_kernel(
    kernel: Callable[..., Tensor],
    joint_network: nn.Module,
    encoder_out: Tensor,
    prediction: Tensor,
    labels: Tensor,
) -> Tensor:
    """The loss of one utterance, a scalar; ``encoder_out`` (T, D), ``prediction`` (U + 1, H), ``labels`` (U,)."""
    logits = joint_network(encoder_out.unsqueeze(1), prediction.unsqueeze(0)).float()[None].contiguous()
    lens = [torch.tensor([len(x)], dtype=torch.int32, device=logits.device) for x in (encoder_out, labels)]
    return kernel(logits, labels[None].int(), *lens, blank=BLANK_ID, reduction="none").reshape(())


def arc_log_probs(
    joint_network: nn.Module, encoder_out: Tensor, prediction: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the arcs of one utterance's lattice: blank (T, U + 1), the next label (T, U)."""
    logits = joint_network(encoder_out.unsqueeze(1), prediction.unsqueeze(0))
    total = logits.logsumexp(-1)
    index = labels.view(1, -1, 1).expand(logits.size(0), -1, 1)
    emit = logits[:, :-1].gather(-1, index).squeeze(-1)
    return logits[..., BLANK_ID] - total, emit - total[:, :-1]


class LatticeLoss(torch.autograd.Function):
    """Minus the log-sum over all paths; the gradient of an arc is minus its posterior probability."""

    @staticmethod
    def forward(ctx: Any, blank: Tensor, emit: Tensor, fastemit_lambda: float) -> Tensor:
        alpha = forward_scores(blank.double(), emit.double())
        beta = backward_scores(blank.double(), emit.double())
        total = beta[0, 0]
        ctx.save_for_backward(blank, emit, alpha, beta)
        ctx.fastemit_lambda = fastemit_lambda
        return -total.to(blank.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        blank, emit, alpha, beta = ctx.saved_tensors
        after_blank = torch.cat([beta[1:], torch.full_like(beta[:1], LOG_ZERO)])
        after_blank[-1, -1] = 0.0
        grad_blank = -(alpha + blank.double() + after_blank - beta[0, 0]).exp()
        grad_emit = -(alpha[:, :-1] + emit.double() + beta[:, 1:] - beta[0, 0]).exp() * (1.0 + ctx.fastemit_lambda)
        return grad * grad_blank.to(blank.dtype), grad * grad_emit.to(emit.dtype), None


def forward_scores(blank: Tensor, emit: Tensor) -> Tensor:
    """alpha[t, u]: log-probability of having emitted u labels when frame t begins to be read. (T, U + 1)."""
    along = nn.functional.pad(emit.cumsum(1), (1, 0))
    rows = [along[0]]
    for t in range(1, len(blank)):
        arrived = rows[-1] + blank[t - 1]
        rows.append(along[t] + torch.logcumsumexp(arrived - along[t], dim=0))
    return torch.stack(rows)


def backward_scores(blank: Tensor, emit: Tensor) -> Tensor:
    """beta[t, u]: log-probability of everything still to come from there, the last blank included. (T, U + 1)."""
    left = nn.functional.pad(emit.flip(1).cumsum(1).flip(1), (0, 1))
    after = torch.full_like(blank[0], LOG_ZERO)
    after[-1] = 0.0
    rows = []
    for t in range(len(blank) - 1, -1, -1):
        leaving = blank[t] + after
        after = left[t] + torch.logcumsumexp((leaving - left[t]).flip(0), dim=0).flip(0)
        rows.append(after)
    return torch.stack(rows[::-1])
