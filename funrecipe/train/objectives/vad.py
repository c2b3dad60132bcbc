"""The loss of voice activity detection: is a frame speech or not?"""

from __future__ import annotations

import torch
from torch import nn

from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import LossOutput, tokens_of


def vad_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Mean over frames of the cross-entropy of two classes: silence (``sil_pdf_ids`` together) and all others.

    These are the probabilities that the detector compares (FunASR ``E2EVadModel.GetFrameState``). FunASR has published
    no loss for this model: its ``forward`` returns segments.
    """
    logits, _ = model.encoder.logits(batch.feats)
    is_silence = torch.zeros(logits.size(-1), dtype=torch.bool, device=logits.device)
    is_silence[model.silence_ids] = True
    # Sums of probabilities: softmax of these two gives P(silence) and P(speech).
    classes = [logits[..., chosen].float().logsumexp(dim=-1) for chosen in (is_silence, ~is_silence)]
    two = torch.stack(classes, dim=-1)
    loss = label_smoothing_loss(two, batch.text, 0.0, tokens_of(batch))
    parts = {"loss": loss, "acc": token_accuracy(two, batch.text)}
    return LossOutput(loss, parts, float(batch.token_count))
