"""Losses of models that compute in overlapping chunks: streaming Paraformer and UniASR."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from funrecipe.models.cif import CifPredictorV2
from funrecipe.models.sanm_chunk import ChunkLayout
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.autoregressive import with_sos_eos
from funrecipe.train.objectives.losses import label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import LossOutput, ObjectiveConf, attention_denominator, weight_of


def shape_index(encoder: nn.Module, training: bool, generator: torch.Generator) -> int:
    """Which chunk shape to use: a drawn one in training, the last one (the offline one) else."""
    count = len(encoder.chunk_shapes)
    return int(torch.randint(count, (1,), generator=generator)) if training else count - 1


def chunk_cif(encoder_out: Tensor, layout: ChunkLayout, predictor: CifPredictorV2, target_lens: Tensor):
    """CIF over the chunks' own frames, and the attention mask of each token."""
    cif = predictor(encoder_out * layout.real[:, None], layout.lens, target_lens=target_lens, chunk_mask=layout.own)
    return cif, layout.decoder_mask(cif.alphas, target_lens)


def uniasr_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Both passes: ``loss_weight_model1 * loss1 + (1 - loss_weight_model1) * loss2`` (FunASR ``UniASR``)."""
    conf = ObjectiveConf.of(model)
    inputs, targets, lens = with_sos_eos(batch.text, batch.text_lens)
    index = shape_index(model.encoder, model.training, generator)
    denominator = attention_denominator(conf, batch, 1)
    stats: dict[str, float] = {}

    def one_pass(encoder_out: Tensor, layout: ChunkLayout, suffix: str) -> Tensor:
        predictor, decoder = getattr(model, f"predictor{suffix}"), getattr(model, f"decoder{suffix}")
        cif, mask = chunk_cif(encoder_out, layout, predictor, lens)
        logits = decoder(encoder_out, inputs, lens, mask, cif.embeds)
        loss_att = label_smoothing_loss(logits, targets, conf.lsm_weight, denominator)
        loss_pre = (cif.token_num.float() - lens).abs().sum() / denominator
        stats[f"loss_att{suffix}"], stats[f"loss_pre{suffix}"] = loss_att.item(), loss_pre.item()
        stats[f"acc{suffix}"] = token_accuracy(logits.detach(), targets)
        return loss_att + float(model.model_conf.get(f"predictor_weight{suffix}", 0.0)) * loss_pre

    encoder_out, layout = model.encoder.encode_chunks(batch.feats, batch.feat_lens, index)
    loss1 = one_pass(encoder_out, layout, "")
    second, layout2 = second_encoder(model, encoder_out, layout, batch.feats, index)
    loss2 = one_pass(second, layout2, "2")
    share = float(model.model_conf.get("loss_weight_model1", 0.5))
    loss = share * loss1 + (1 - share) * loss2
    stats |= {"loss1": loss1.item(), "loss2": loss2.item(), "loss": loss.item()}
    return LossOutput(loss, stats, weight_of(conf, batch, 1))


def second_encoder(model: nn.Module, encoder_out: Tensor, layout: ChunkLayout, feats: Tensor, index: int):
    """The second encoder on features and first encoder output at half rate: ``(B, T', D)`` and its layout."""
    joined = torch.cat((feats[:, : int(layout.feat_lens.max())], layout.join(encoder_out)), dim=-1)
    x, x_lens = model.stride_conv(joined, layout.feat_lens)
    return model.encoder2.encode_chunks(x, x_lens, index)
