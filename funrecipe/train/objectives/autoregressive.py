"""Losses of models that predict the next token: CTC/attention, transducers, language models."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.special_ids import BLANK_ID, EOS_ID, SOS_ID
from funrecipe.models.transducer_loss import transducer_loss
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import IGNORE_ID, append_eos, ctc_loss, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    ctc_branch,
    tokens_of,
    utterances_of,
    weight_of,
)  # fmt: skip


def with_sos_eos(text: Tensor, text_lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decoder input (sos first, padded with eos), target (eos last, padded with -1), lengths + 1."""
    inputs = F.pad(text.masked_fill(text.eq(IGNORE_ID), EOS_ID), (1, 0), value=SOS_ID)
    return inputs, *append_eos(text, text_lens, 1)


def ctc_attention_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """``w loss_ctc + (1 - w) loss_att`` (Watanabe et al. 2017; FunASR ``ASRModel``); a weight of 1 is CTC alone."""
    conf = ObjectiveConf.of(model)
    encoder_out, encoder_out_lens = model.encode(batch.feats, batch.feat_lens)
    w = conf.ctc_weight
    parts: dict[str, Tensor] = {}
    loss = encoder_out.new_zeros((), dtype=torch.float32)
    if w > 0:
        parts["loss_ctc"] = ctc_branch(model.ctc, encoder_out, encoder_out_lens, batch)
        loss = loss + w * parts["loss_ctc"]
    if w < 1:
        inputs, targets, lens = with_sos_eos(batch.text, batch.text_lens)
        logits = model.decoder(encoder_out, encoder_out_lens, inputs, lens)
        denominator = attention_denominator(conf, batch, 1)
        parts["loss_att"] = label_smoothing_loss(logits, targets, conf.lsm_weight, denominator)
        parts["acc"] = token_accuracy(logits, targets)
        loss = loss + (1 - w) * parts["loss_att"]
    return LossOutput(loss, parts, weight_of(conf, batch, 1), {"encoder_out_lens": encoder_out_lens})


def rnnt_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Transducer loss, mean over utterances (Graves 2012), and the losses of the heads that only training uses.

    A unified model adds what its encoder gives under chunk masks: the transducer, the CTC and the attention loss are
    sums over both branches (FunASR ``UnifiedTransducerModel``), the language model's loss uses no encoder.
    """
    conf, utterances = TransducerConf.of(model), utterances_of(batch)
    labels = batch.text.clamp(min=0)
    prediction, _ = model.decoder(F.pad(labels, (1, 0), value=BLANK_ID))
    branches, lens = encoder_branches(model, batch, generator)
    losses = [
        transducer_loss(
            model.joint_network,
            encoder_out,
            lens,
            prediction,
            labels,
            batch.text_lens,
            fastemit_lambda=conf.fastemit_lambda,
        ).sum()
        / utterances
        for encoder_out in branches
    ]
    heads = [("loss_transducer", conf.transducer_weight, losses)]
    if model.ctc_lin is not None:
        dropped = (F.dropout(x, conf.auxiliary_ctc_dropout_rate, model.training) for x in branches)
        losses = [ctc_loss(model.ctc_lin(x), lens, batch.text, batch.text_lens, utterances) for x in dropped]
        heads.append(("aux_ctc_loss", conf.auxiliary_ctc_weight, losses))
    if model.att_decoder is not None:
        inputs, targets, input_lens = with_sos_eos(batch.text, batch.text_lens)
        denominator = attention_denominator(conf, batch, 1)
        decoded = (model.att_decoder(x, lens, inputs, input_lens) for x in branches)
        losses = [label_smoothing_loss(logits, targets, conf.lsm_weight, denominator) for logits in decoded]
        heads.append(("aux_att_loss", conf.auxiliary_att_weight, losses))
    if model.lm_lin is not None:
        smoothing = conf.auxiliary_lm_loss_smoothing
        losses = [label_smoothing_loss(model.lm_lin(prediction[:, :-1]), batch.text, smoothing, utterances)]
        heads.append(("aux_lm_loss", conf.auxiliary_lm_loss_weight, losses))
    parts: dict[str, Tensor] = {}
    loss = prediction.new_zeros((), dtype=torch.float32)
    for name, weight, losses in heads:
        total = torch.stack(losses).sum()
        loss = loss + weight * total
        # FunASR names the whole-utterance transducer alone, and of the other heads the sum.
        parts[name] = losses[0] if name == "loss_transducer" else total
        if len(losses) > 1:
            parts[f"{name}_chunk"] = losses[1]
    return LossOutput(loss, parts, float(len(batch.keys)), {"encoder_out_lens": lens})


@dataclass(frozen=True)
class TransducerConf(ObjectiveConf):
    """``model_conf`` of a transducer; ``lsm_weight`` and ``length_normalized_loss`` are of its attention head."""

    transducer_weight: float = 1.0
    fastemit_lambda: float = 0.0
    auxiliary_ctc_weight: float = 0.0
    auxiliary_ctc_dropout_rate: float = 0.0
    auxiliary_att_weight: float = 0.0
    auxiliary_lm_loss_weight: float = 0.0
    auxiliary_lm_loss_smoothing: float = 0.0


def encoder_branches(model: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Encoder outputs (B, T, D) to learn from, whole utterances first, and their lengths (B,)."""
    encoder = model.encoder
    if not getattr(encoder, "unified_model_training", False):
        encoder_out, lens = model.encode(batch.feats, batch.feat_lens)
        return [encoder_out], lens
    chunk_size = drawn_chunk_size(encoder, generator) if model.training else encoder.default_chunk_size
    encoder_out, chunked, lens = encoder.forward_unified(batch.feats, batch.feat_lens, chunk_size)
    return [encoder_out, chunked], lens


def drawn_chunk_size(encoder: nn.Module, generator: torch.Generator) -> int:
    """The default chunk size, moved by up to ``jitter_range`` either way."""
    jitter = int(encoder.jitter_range)
    return max(1, encoder.default_chunk_size + int(torch.randint(-jitter, jitter + 1, (1,), generator=generator)))


def language_model_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Mean negative log-likelihood per token, eos included (FunASR ``LanguageModel``)."""
    nll, lens = model.nll(batch.text.clamp(min=0), batch.text_lens)
    loss = nll.sum() / tokens_of(batch, 1)
    return LossOutput(loss, {"loss": loss, "perplexity": loss.exp()}, float(lens.sum()))
