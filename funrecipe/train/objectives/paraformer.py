"""The losses of Paraformer and its relatives. Settings come from ``model.model_conf``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from funrecipe.models.cif import CifOutput
from funrecipe.models.layers import length_mask
from funrecipe.models.sanm_chunk import ChunkLayout
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.chunked import chunk_cif, shape_index
from funrecipe.train.objectives.hotword_sampling import HotwordConf, sample_hotwords
from funrecipe.train.objectives.losses import (
    IGNORE_ID,
    append_eos,
    label_smoothing_loss,
    quantity_loss,
    token_accuracy,
)
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    ctc_branch,
    weight_of,
)  # fmt: skip


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


def paraformer_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Paraformer (Gao et al. 2022; FunASR ``Paraformer.forward``), BiCif and contextual members included.

    Total: ``(1 - w) loss_att + w loss_ctc + predictor_weight loss_pre``, plus ``(1 - w) pre_loss_att`` with
    ``use_1st_decoder_loss`` (not weighted in chunks) and half the quantity loss of BiCif's second head. A CTC weight w
    of 1 is CTC alone.
    """
    conf = ObjectiveConf.of(model)
    w, bias = conf.ctc_weight, conf.predictor_bias
    frames = encode_for_training(model, batch, generator)
    if w == 1.0:
        loss_ctc = ctc_branch(model.ctc, *frames.once, batch)
        extras = {"encoder_out_lens": frames.once[1]}
        return LossOutput(loss_ctc, {"loss_ctc": loss_ctc}, weight_of(conf, batch, bias), extras)
    text, text_lens = append_eos(batch.text, batch.text_lens, bias)
    cif, decode = cif_and_decoder(model, batch, frames, text_lens, generator)
    denominator = attention_denominator(conf, batch, bias)

    first_logits, embeds = None, cif.embeds
    if conf.sampling_ratio > 0:
        with torch.set_grad_enabled(conf.use_1st_decoder_loss and torch.is_grad_enabled()):
            first_logits = decode(cif.embeds)
        embeds = glance(model, cif.embeds, first_logits, text, text_lens, conf.sampling_ratio, generator)
    logits = decode(embeds)

    loss_att = label_smoothing_loss(logits, text, conf.lsm_weight, denominator)
    loss_pre = quantity_loss(cif.token_num, text_lens, denominator)
    acc = token_accuracy(logits if first_logits is None else first_logits, text)
    parts = {"loss_att": loss_att, "acc": acc, "loss_pre": loss_pre}
    loss = (1 - w) * loss_att + conf.predictor_weight * loss_pre
    if hasattr(model.predictor, "fine_alphas"):  # BiCif's second head counts tokens too
        token_num = model.predictor.fine_alphas(frames.encoder_out, frames.lens).sum(1)
        parts["loss_pre2"] = quantity_loss(token_num, text_lens, denominator)
        loss = loss + 0.5 * conf.predictor_weight * parts["loss_pre2"]
    if w != 0.0:
        parts["loss_ctc"] = ctc_branch(model.ctc, *frames.once, batch)
        loss = loss + w * parts["loss_ctc"]
    if conf.use_1st_decoder_loss and first_logits is not None:
        parts["pre_loss_att"] = label_smoothing_loss(first_logits, text, conf.lsm_weight, denominator)
        loss = loss + (1 - w if frames.layout is None else 1.0) * parts["pre_loss_att"]
    extras = {"decoder_input_embeds": embeds, "encoder_out_lens": frames.lens}
    return LossOutput(loss, parts, weight_of(conf, batch, bias), extras)


class Frames(NamedTuple):
    """What an encoder gives: output and lengths; ``layout`` if these are chunks, which overlap."""

    encoder_out: Tensor
    lens: Tensor
    layout: ChunkLayout | None = None

    @property
    def once(self) -> tuple[Tensor, Tensor]:
        """Each frame once, and lengths."""
        if self.layout is None:
            return self.encoder_out, self.lens
        return self.layout.join(self.encoder_out), self.layout.feat_lens


def encode_for_training(model: nn.Module, batch: Batch, generator: torch.Generator) -> Frames:
    """The frames of a batch, in chunks where the encoder has them."""
    if not hasattr(model.encoder, "encode_chunks"):
        return Frames(*model.encode(batch.feats, batch.feat_lens))
    index = shape_index(model.encoder, model.training, generator)
    encoder_out, layout = model.encoder.encode_chunks(batch.feats, batch.feat_lens, index)
    return Frames(encoder_out, layout.lens, layout)


def cif_and_decoder(
    model: nn.Module, batch: Batch, frames: Frames, text_lens: Tensor, generator: torch.Generator
) -> tuple[CifOutput, Callable[[Tensor], Tensor]]:
    """CIF scaled to ``text_lens``, and ``embeds -> logits``.

    The decoder of a contextual model attends to hotwords from the batch's own texts.
    """
    encoder_out, lens, layout = frames
    more = []
    if layout is not None:
        cif, mask = chunk_cif(encoder_out, layout, model.predictor, text_lens)
        more = [mask]
    else:
        cif = model.predictor(encoder_out, lens, target_lens=text_lens)
        if hasattr(model, "encode_hotwords"):
            more = [model.encode_hotwords(sample_hotwords(batch, HotwordConf.of(model), generator))]
    return cif, lambda embeds: model.decoder(encoder_out, lens, embeds, text_lens, *more)


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
