"""Losses of models that compute in overlapping chunks: streaming Paraformer and UniASR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from funrecipe.models.cif import CifOutput, CifPredictorV2
from funrecipe.models.sanm_chunk import ChunkLayout
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.autoregressive import with_sos_eos
from funrecipe.train.objectives.losses import label_smoothing_loss, quantity_loss, token_accuracy
from funrecipe.train.objectives.output import (
    LossOutput,
    ObjectiveConf,
    attention_denominator,
    ctc_branch,
    weight_of,
)


def shape_index(encoder: nn.Module, training: bool, generator: torch.Generator) -> int:
    """Which chunk shape to use: in training a random one, otherwise the last (offline) one."""
    count = len(encoder.chunk_shapes)
    return int(torch.randint(count, (1,), generator=generator)) if training else count - 1


def chunk_cif(
    encoder_out: Tensor, layout: ChunkLayout, predictor: CifPredictorV2, target_lens: Tensor
) -> tuple[CifOutput, Tensor]:
    """CIF over each chunk's own frames, and the attention mask of each token."""
    cif = predictor(encoder_out * layout.real[:, None], layout.lens, target_lens=target_lens, chunk_mask=layout.own)
    return cif, layout.decoder_mask(cif.alphas, target_lens)


@dataclass(frozen=True)
class UniASRConf(ObjectiveConf):
    """``model_conf`` of UniASR; a 2 at the end is of the second pass.

    Attributes:
        loss_weight_model1: share of the first pass; at 0 or 1 the other pass is not computed.
        enable_maas_finetune: the first pass is computed, not trained. freeze_encoder2: nor is the second encoder.
        encoder1_encoder2_joint_training: false: the second pass does not train what its encoder is given.
    """

    ctc_weight2: float = 0.5
    predictor_weight2: float = 0.0
    loss_weight_model1: float = 0.5
    enable_maas_finetune: bool = False
    freeze_encoder2: bool = False
    encoder1_encoder2_joint_training: bool = True


def uniasr_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Both passes: ``loss_weight_model1 * loss1 + (1 - loss_weight_model1) * loss2`` (FunASR ``UniASR``).

    A pass is ``w loss_ctc + (1 - w) loss_att + predictor_weight loss_pre``; a weight w of 1 is CTC alone.
    """
    conf = UniASRConf.of(model)
    index = shape_index(model.encoder, model.training, generator)
    parts: dict[str, Tensor] = {}
    share = conf.loss_weight_model1
    loss = batch.feats.new_zeros((), dtype=torch.float32)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not conf.enable_maas_finetune):
        encoder_out, layout = model.encoder.encode_chunks(batch.feats, batch.feat_lens, index)
        if share > 0:
            parts["loss1"] = one_pass(model, batch, conf, encoder_out, layout, "", parts)
            loss = loss + share * parts["loss1"]
    if share < 1:
        second, layout2 = second_encoder(model, encoder_out, layout, batch.feats, index, conf)
        parts["loss2"] = one_pass(model, batch, conf, second, layout2, "2", parts)
        loss = loss + (1 - share) * parts["loss2"]
    return LossOutput(loss, parts, weight_of(conf, batch, 1))


def one_pass(
    model: nn.Module,
    batch: Batch,
    conf: UniASRConf,
    encoder_out: Tensor,
    layout: ChunkLayout,
    suffix: str,
    parts: dict[str, Tensor],
) -> Tensor:
    """The loss of one pass, whose ``parts`` are noted; ``suffix`` is empty or 2, in the names of settings and parts."""
    w = float(getattr(conf, f"ctc_weight{suffix}"))
    loss = encoder_out.new_zeros((), dtype=torch.float32)
    if w > 0:
        head = getattr(model, f"ctc{suffix}")
        loss_ctc = ctc_branch(head, layout.join(encoder_out), layout.feat_lens, batch)
        parts[f"loss_ctc{suffix}"] = loss_ctc
        loss = loss + w * loss_ctc
    if w < 1:
        inputs, targets, lens = with_sos_eos(batch.text, batch.text_lens)
        denominator = attention_denominator(conf, batch, 1)
        predictor, decoder = getattr(model, f"predictor{suffix}"), getattr(model, f"decoder{suffix}")
        cif, mask = chunk_cif(encoder_out, layout, predictor, lens)
        logits = decoder(encoder_out, inputs, lens, mask, cif.embeds)
        loss_att = label_smoothing_loss(logits, targets, conf.lsm_weight, denominator)
        loss_pre = quantity_loss(cif.token_num, lens, denominator)
        parts[f"loss_att{suffix}"], parts[f"loss_pre{suffix}"] = loss_att, loss_pre
        parts[f"acc{suffix}"] = token_accuracy(logits, targets)
        loss = loss + (1 - w) * loss_att + float(getattr(conf, f"predictor_weight{suffix}")) * loss_pre
    return loss


def second_encoder(
    model: nn.Module, encoder_out: Tensor, layout: ChunkLayout, feats: Tensor, index: int, conf: UniASRConf
) -> tuple[Tensor, ChunkLayout]:
    """The second encoder on features and the first encoder's output at half ``rate`` (B, T', D) and its layout."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not conf.freeze_encoder2):
        x, x_lens = model.join(encoder_out, layout, feats)
        if not conf.encoder1_encoder2_joint_training:
            x = x.detach()
        return model.encoder2.encode_chunks(x, x_lens, index)
