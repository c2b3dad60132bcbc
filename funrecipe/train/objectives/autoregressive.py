"""Losses of models that predict the next token: CTC/attention, transducers, language models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.special_ids import EOS_ID, SOS_ID
from funrecipe.models.transducer_loss import transducer_loss
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import IGNORE_ID, ctc_loss, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    ctc_branch,
    utterances_of,
    weight_of,
)  # fmt: skip


def with_sos_eos(text: Tensor, text_lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decoder input (sos first, padded with eos), target (eos last, padded with -1), lengths + 1."""
    lens = text_lens + 1
    inputs = F.pad(text.masked_fill(text.eq(IGNORE_ID), EOS_ID), (1, 0), value=SOS_ID)
    targets = F.pad(text, (0, 1), value=IGNORE_ID).scatter(1, text_lens[:, None], EOS_ID)
    return inputs, targets, lens


def ctc_attention_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """``w loss_ctc + (1 - w) loss_att`` (Watanabe et al. 2017; FunASR ``ASRModel``); a weight of 1 is CTC alone."""
    conf = ObjectiveConf.of(model)
    encoder_out, encoder_out_lens = model.encode(batch.feats, batch.feat_lens)
    w = conf.ctc_weight
    stats: dict[str, float] = {}
    loss = encoder_out.new_zeros((), dtype=torch.float32)
    if w > 0:
        loss_ctc = ctc_branch(model, encoder_out, encoder_out_lens, batch)
        stats["loss_ctc"] = loss_ctc.item()
        loss = loss + w * loss_ctc
    if w < 1:
        inputs, targets, lens = with_sos_eos(batch.text, batch.text_lens)
        logits = model.decoder(encoder_out, encoder_out_lens, inputs, lens)
        loss_att = label_smoothing_loss(logits, targets, conf.lsm_weight, attention_denominator(conf, batch, 1))
        stats |= {"loss_att": loss_att.item(), "acc": token_accuracy(logits.detach(), targets)}
        loss = loss + (1 - w) * loss_att
    stats["loss"] = loss.item()
    return LossOutput(loss, stats, weight_of(conf, batch, 1), {"encoder_out_lens": encoder_out_lens})


def rnnt_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Transducer loss, mean over utterances (Graves 2012); unified models add the same loss under chunk masks.

    Auxiliary CTC, attention and language-model losses are added with their weights in ``model_conf``.
    """
    conf = model.model_conf
    labels = batch.text.clamp(min=0)
    prediction, _ = model.decoder(F.pad(labels, (1, 0), value=model.blank_id))
    fastemit = float(conf.get("fastemit_lambda", 0.0))

    def transducer(encoder_out: Tensor, lens: Tensor) -> Tensor:
        losses = transducer_loss(
            model.joint_network,
            encoder_out,
            lens,
            prediction,
            labels,
            batch.text_lens,
            blank_id=model.blank_id,
            fastemit_lambda=fastemit,
        )
        return losses.sum() / utterances_of(batch)

    stats: dict[str, float] = {}
    encoder = model.encoder
    if getattr(encoder, "unified_model_training", False):
        chunk_size = drawn_chunk_size(encoder, generator) if model.training else encoder.default_chunk_size
        encoder_out, chunked, lens = encoder.forward_unified(batch.feats, batch.feat_lens, chunk_size)
        loss_whole, loss_chunk = transducer(encoder_out, lens), transducer(chunked, lens)
        stats |= {"loss_transducer": loss_whole.item(), "loss_transducer_chunk": loss_chunk.item()}
        loss = loss_whole + loss_chunk
    else:
        encoder_out, lens = model.encode(batch.feats, batch.feat_lens)
        loss = transducer(encoder_out, lens)
        stats["loss_transducer"] = loss.item()
    for name, weight, auxiliary in auxiliary_losses(model, batch, encoder_out, lens, prediction):
        stats[name] = auxiliary.item()
        loss = loss + weight * auxiliary
    stats["loss"] = loss.item()
    return LossOutput(loss, stats, float(len(batch.keys)), {"encoder_out_lens": lens})


def drawn_chunk_size(encoder: nn.Module, generator: torch.Generator) -> int:
    """The default chunk size, moved by up to ``jitter_range`` either way."""
    jitter = int(encoder.jitter_range)
    return max(1, encoder.default_chunk_size + int(torch.randint(-jitter, jitter + 1, (1,), generator=generator)))


def auxiliary_losses(
    model: nn.Module, batch: Batch, encoder_out: Tensor, lens: Tensor, prediction: Tensor
) -> list[tuple[str, float, Tensor]]:
    """``(name, weight, loss)`` of the heads that only training uses."""
    conf, found = model.model_conf, []
    if model.ctc_lin is not None:
        loss = ctc_loss(model.ctc_lin(encoder_out), lens, batch.text, batch.text_lens, utterances_of(batch))
        found.append(("loss_ctc", float(conf["auxiliary_ctc_weight"]), loss))
    inputs, targets, input_lens = with_sos_eos(batch.text, batch.text_lens)
    if model.att_decoder is not None:
        logits = model.att_decoder(encoder_out, lens, inputs, input_lens)
        smoothing = float(conf.get("auxiliary_lsm_weight", 0.0))
        loss = label_smoothing_loss(logits, targets, smoothing, utterances_of(batch))
        found.append(("loss_att", float(conf["auxiliary_att_weight"]), loss))
    if model.lm_lin is not None:
        logits = model.lm_lin(prediction[:, :-1])
        smoothing = float(conf.get("auxiliary_lm_loss_smoothing", 0.0))
        loss = label_smoothing_loss(logits, batch.text, smoothing, utterances_of(batch))
        found.append(("loss_lm", float(conf["auxiliary_lm_loss_weight"]), loss))
    return found


def language_model_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Mean negative log-likelihood per token, eos included (FunASR ``LanguageModel``)."""
    nll, lens = model.nll(batch.text.clamp(min=0), batch.text_lens)
    tokens = (
        batch.normalizer_tokens + utterances_of(batch) if batch.normalizer_tokens is not None else float(lens.sum())
    )
    loss = nll.sum() / tokens
    return LossOutput(loss, {"loss": loss.item(), "perplexity": float(loss.detach().exp())}, float(lens.sum()))
