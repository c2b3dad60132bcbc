"""The losses of Paraformer and its relatives. Settings come from ``model.model_conf``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.layers import length_mask
from funrecipe.models.special_ids import EOS_ID
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.chunked import chunk_cif, shape_index
from funrecipe.train.objectives.hotword_sampling import HotwordConf, sample_hotwords
from funrecipe.train.objectives.losses import IGNORE_ID, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    ctc_branch,
    weight_of,
)  # fmt: skip


def append_eos(text: Tensor, text_lens: Tensor, bias: int) -> tuple[Tensor, Tensor]:
    """With ``bias`` 1, end of sentence after every target, so that CIF learns to fire once more for it."""
    if bias == 0:
        return text, text_lens
    longer = F.pad(text, (0, 1), value=IGNORE_ID)
    return longer.scatter(1, text_lens[:, None], EOS_ID), text_lens + 1


def mix_in_targets(
    embeds: Tensor, target_embeds: Tensor, wrong: Tensor, text_lens: Tensor, ratio: float, generator: torch.Generator
) -> Tensor:
    """Glancing sampler (Gao et al. 2022): the more a first pass got wrong, the more positions see their target.

    ``int(wrong * ratio)`` random positions of every utterance get the target embedding; the order of random draws is
    one ``torch.randperm(length)`` per utterance that needs any.

    Args:
        embeds, target_embeds: (B, U, D).
        wrong: (B,), errors of the first pass.
        text_lens: (B,).
    """
    chosen = torch.zeros(embeds.shape[:2], dtype=torch.bool)
    for row, (length, errors) in enumerate(zip(text_lens.tolist(), wrong.tolist())):
        count = int(errors * ratio)
        if count > 0:
            chosen[row, torch.randperm(length, generator=generator)[:count]] = True
    return torch.where(chosen.to(embeds.device)[:, :, None], target_embeds.to(embeds.dtype), embeds)


def quantity_loss(token_num: Tensor, target_lens: Tensor, denominator: float) -> Tensor:
    """Sum of |predicted - wanted| number of tokens, divided by ``denominator``."""
    return (token_num.float() - target_lens.to(token_num.device)).abs().sum() / denominator


def paraformer_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Paraformer (Gao et al. 2022; FunASR ``Paraformer.forward``), BiCif and contextual members included.

    Total: ``(1 - w) loss_att + w loss_ctc + predictor_weight loss_pre``, plus ``(1 - w) pre_loss_att`` with
    ``use_1st_decoder_loss`` (not weighted in chunks) and half the quantity loss of BiCif's second head. A CTC weight w
    of 1 is CTC alone.
    """
    conf = ObjectiveConf.of(model)
    if conf.ctc_weight == 1.0:
        return ctc_alone(model, batch, conf, generator)
    text, text_lens = append_eos(batch.text, batch.text_lens, conf.predictor_bias)
    encoder_out, encoder_out_lens, cif, decode, frames = encode_for_training(model, batch, text_lens, generator)
    denominator = attention_denominator(conf, batch, conf.predictor_bias)

    first_logits, embeds = None, cif.embeds
    if conf.sampling_ratio > 0:
        with torch.set_grad_enabled(conf.use_1st_decoder_loss and torch.is_grad_enabled()):
            first_logits = decode(cif.embeds)
        embeds = glance(model, cif.embeds, first_logits.detach(), text, text_lens, conf.sampling_ratio, generator)
    logits = decode(embeds)
    seen = first_logits if first_logits is not None else logits

    loss_att = label_smoothing_loss(logits, text, conf.lsm_weight, denominator)
    loss_pre = quantity_loss(cif.token_num, text_lens, denominator)
    stats = {"loss_att": loss_att.detach(), "acc": token_accuracy(seen.detach(), text), "loss_pre": loss_pre.detach()}
    w = conf.ctc_weight
    loss = (1 - w) * loss_att + conf.predictor_weight * loss_pre
    if hasattr(model.predictor, "fine_alphas"):  # BiCif's second head counts tokens too
        loss_pre2 = quantity_loss(
            model.predictor.fine_alphas(encoder_out, encoder_out_lens).sum(1), text_lens, denominator
        )
        stats["loss_pre2"] = loss_pre2.detach()
        loss = loss + 0.5 * conf.predictor_weight * loss_pre2
    if w != 0.0:
        loss_ctc = ctc_branch(model.ctc, *frames, batch)
        stats["loss_ctc"] = loss_ctc.detach()
        loss = loss + w * loss_ctc
    if conf.use_1st_decoder_loss and first_logits is not None:
        pre_loss_att = label_smoothing_loss(first_logits, text, conf.lsm_weight, denominator)
        stats["pre_loss_att"] = pre_loss_att.detach()
        loss = loss + (1.0 if is_chunked(model) else 1 - w) * pre_loss_att
    stats["loss"] = loss.detach()
    extras = {"decoder_input_embeds": embeds, "encoder_out_lens": encoder_out_lens}
    return LossOutput(loss, stats, weight_of(conf, batch, conf.predictor_bias), extras)


def ctc_alone(model: nn.Module, batch: Batch, conf: ObjectiveConf, generator: torch.Generator) -> LossOutput:
    """The loss of a model that is trained by its CTC head only."""
    if is_chunked(model):
        index = shape_index(model.encoder, model.training, generator)
        encoder_out, layout = model.encoder.encode_chunks(batch.feats, batch.feat_lens, index)
        frames = layout.join(encoder_out), layout.feat_lens
    else:
        frames = model.encode(batch.feats, batch.feat_lens)
    loss = ctc_branch(model.ctc, *frames, batch)
    stats = {"loss_ctc": loss.detach(), "loss": loss.detach()}
    return LossOutput(loss, stats, weight_of(conf, batch, conf.predictor_bias), {"encoder_out_lens": frames[1]})


def is_chunked(model: nn.Module) -> bool:
    return hasattr(model.encoder, "encode_chunks")


def encode_for_training(model: nn.Module, batch: Batch, text_lens: Tensor, generator: torch.Generator) -> Any:
    """Encoder output and lengths, CIF scaled to ``text_lens``, ``embeds -> logits``; in chunks where it has them.

    The last two are for CTC: each frame once (chunks overlap), and lengths. The decoder of a contextual model attends
    to hotwords from the batch's own texts.
    """
    if is_chunked(model):
        index = shape_index(model.encoder, model.training, generator)
        encoder_out, layout = model.encoder.encode_chunks(batch.feats, batch.feat_lens, index)
        cif, mask = chunk_cif(encoder_out, layout, model.predictor, text_lens)
        return (
            encoder_out, layout.lens, cif,
            lambda embeds: model.decoder(encoder_out, layout.lens, embeds, text_lens, mask),
            (layout.join(encoder_out), layout.feat_lens),
        )  # fmt: skip
    encoder_out, encoder_out_lens = model.encode(batch.feats, batch.feat_lens)
    cif = model.predictor(encoder_out, encoder_out_lens, target_lens=text_lens)
    context = []
    if hasattr(model, "encode_hotwords"):
        words = sample_hotwords(batch, HotwordConf.of(model.model_conf), generator)
        context = [model.encode_hotwords(words)]
    return (
        encoder_out, encoder_out_lens, cif,
        lambda embeds: model.decoder(encoder_out, encoder_out_lens, embeds, text_lens, *context),
        (encoder_out, encoder_out_lens),
    )  # fmt: skip


def glance(
    model: nn.Module,
    embeds: Tensor,
    first_logits: Tensor,
    text: Tensor,
    text_lens: Tensor,
    ratio: float,
    generator: torch.Generator,
) -> Tensor:
    """The sampler: mix target embeddings into ``embeds`` (B, U, D), the more the worse the first pass was."""
    wanted = text.ne(IGNORE_ID)
    correct = (first_logits.argmax(-1).eq(text) & wanted).sum(dim=1)
    target_embeds = model.decoder.embed(text.clamp(min=0))
    mixed = mix_in_targets(embeds, target_embeds, (text_lens - correct).cpu(), text_lens, ratio, generator)
    return mixed * length_mask(text_lens, mixed.size(1)).unsqueeze(-1)
