"""The loss of SeACo-Paraformer: what the hotword branch says at every token, and a little of the recognizer's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.hotword_sampling import HotwordConf, sample_hotwords
from funrecipe.train.objectives.losses import IGNORE_ID, append_eos, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    tokens_of,
    utterances_of,
)
from funrecipe.train.objectives.paraformer import glance


@dataclass(frozen=True)
class SeacoConf(ObjectiveConf):
    """``model_conf`` of SeACo-Paraformer.

    Attributes:
        seaco_lsm_weight, seaco_length_normalized_loss: of the hotword branch's loss.
        seaco_weight: weight of the recognizer's own loss.
        train_decoder: whether that loss counts at all.
    """

    seaco_lsm_weight: float = 0.0
    seaco_length_normalized_loss: bool = True
    seaco_weight: float = 0.01
    train_decoder: bool = False


def seaco_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """The loss with hotwords sampled from the batch's own texts, as for contextual models."""
    words = sample_hotwords(batch, HotwordConf.of(model), generator)
    return loss_with_hotwords(model, batch, words, hotword_labels(batch.text, words, model.no_bias_id), generator)


def loss_with_hotwords(
    model: nn.Module, batch: Batch, words: Sequence[Sequence[int]], labels: Tensor, generator: torch.Generator
) -> LossOutput:
    """``loss_seaco``, plus ``seaco_weight loss_att`` where the decoder is trained too (FunASR ``SeacoParaformer``).

    Args:
        words: token ids of the batch's hotwords.
        labels: (B, U) targets of the hotword branch: the token inside a hotword, elsewhere ``no_bias_id``, -1 for
            padding.
    """
    conf = SeacoConf.of(model)
    text, text_lens = append_eos(batch.text, batch.text_lens, conf.predictor_bias)
    encoder_out, lens = model.encode(batch.feats, batch.feat_lens)
    embeds = model.predictor(encoder_out, lens, target_lens=text_lens).embeds
    hidden = model.decoder.hidden(encoder_out, lens, embeds, text_lens)
    context = model.encode_hotwords(words).expand(len(hidden), -1, -1)
    biased = model.bias_logits(embeds, hidden, text_lens, context)[:, : labels.size(1)]
    denominator = tokens_of(batch) if conf.seaco_length_normalized_loss else utterances_of(batch)
    loss = label_smoothing_loss(biased, labels, conf.seaco_lsm_weight, denominator)
    parts = {"loss_seaco": loss, "acc": token_accuracy(biased, labels)}
    if conf.train_decoder:
        logits = model.decoder.output_layer(hidden)
        parts["acc"] = token_accuracy(logits, text)
        if conf.sampling_ratio > 0:
            embeds = glance(model, embeds, logits, text, text_lens, conf.sampling_ratio, generator)
            logits = model.decoder(encoder_out, lens, embeds, text_lens)
        denominator = attention_denominator(conf, batch, conf.predictor_bias)
        parts["loss_att"] = label_smoothing_loss(logits, text, conf.lsm_weight, denominator)
        loss = loss + conf.seaco_weight * parts["loss_att"]
    weight = float(batch.token_count + conf.predictor_bias * len(batch.keys))
    return LossOutput(loss, parts, weight, {"encoder_out_lens": lens})


def hotword_labels(text: Tensor, words: Sequence[Sequence[int]], no_bias_id: int) -> Tensor:
    """Labels of the hotword branch for ``text`` (B, U): wherever one of ``words`` occurs, whichever text gave it."""
    labels = torch.where(text == IGNORE_ID, IGNORE_ID, no_bias_id)
    for word in {tuple(word) for word in words}:
        pattern = torch.tensor(word, device=text.device)
        if len(word) > text.size(1):
            continue
        found = (text.unfold(1, len(word), 1) == pattern).all(dim=2)
        for row, start in found.nonzero().tolist():
            labels[row, start : start + len(word)] = pattern
    return labels
