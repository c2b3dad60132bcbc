"""What is minimised: one table, architecture family -> loss function.

Every function is ``(model, batch, generator) -> LossOutput`` and reads its settings from ``model.config["model_conf"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.data.batching import Batch
from funrecipe.errors import UsageError, did_you_mean
from funrecipe.models.layers import length_mask
from funrecipe.train.losses import IGNORE_ID, ctc_loss, label_smoothing_loss, token_accuracy

SOS_ID, EOS_ID = 1, 2


@dataclass
class LossOutput:
    """What one batch gives.

    Attributes:
        loss: the scalar to differentiate.
        stats: its parts by FunASR's names (loss_att, loss_pre, acc, ...), detached.
        weight: how much this batch counts in a mean over batches: tokens when the loss is length-normalised, else utterances.
        extras: tensors that only checks look at.
    """

    loss: Tensor
    stats: dict[str, float]
    weight: float
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveConf:
    """``model_conf``, with the defaults of FunASR's classes. Keys that belong to other parts of a model pass unread."""

    ctc_weight: float = 0.5
    lsm_weight: float = 0.0
    length_normalized_loss: bool = False
    predictor_weight: float = 0.0
    predictor_bias: int = 0
    sampling_ratio: float = 0.2
    use_1st_decoder_loss: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> ObjectiveConf:
        conf: Mapping[str, Any] = getattr(model, "model_conf", None) or {}
        return cls(**{name: conf[name] for name in cls.__dataclass_fields__ if conf.get(name) is not None})


def compute_loss(family: str, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """The loss of ``batch`` by the objective of ``family`` (config key ``model``).

    Args:
        generator: CPU generator of the training-time choices (the GLM sampler); dropout uses torch's own.

    Raises:
        UsageError: the family has no training objective here.
    """
    if family not in OBJECTIVES:
        raise UsageError(f"no training objective for models of family '{family}'",
                         hint=did_you_mean(family, OBJECTIVES) or f"trainable: {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[family](model, batch, generator)


def append_eos(text: Tensor, text_lens: Tensor, bias: int) -> tuple[Tensor, Tensor]:
    """``predictor_bias`` 1: an end-of-sentence behind every target, so that CIF learns to fire once more for it."""
    if bias == 0:
        return text, text_lens
    longer = F.pad(text, (0, 1), value=IGNORE_ID)
    return longer.scatter(1, text_lens[:, None], EOS_ID), text_lens + 1


def mix_in_targets(embeds: Tensor, target_embeds: Tensor, wrong: Tensor, text_lens: Tensor, ratio: float,
                   generator: torch.Generator) -> Tensor:
    """Glancing sampler (Gao et al. 2022): the more a first pass got wrong, the more positions see their target.

    ``int(wrong * ratio)`` random positions of every utterance get the target embedding; the order of random draws is
    one ``torch.randperm(length)`` per utterance that needs any.

    Args:
        embeds, target_embeds: ``(B, U, D)``; wrong: ``(B,)`` errors of the first pass; text_lens: ``(B,)``.
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


def ctc_branch(model: nn.Module, encoder_out: Tensor, encoder_out_lens: Tensor, batch: Batch) -> Tensor:
    """CTC of ``model.ctc`` divided by the number of utterances (FunASR's ``builtin`` with ``reduce``)."""
    return ctc_loss(model.ctc.ctc_lo(encoder_out), encoder_out_lens, batch.text, batch.text_lens, utterances_of(batch))


def utterances_of(batch: Batch) -> float:
    return batch.normalizer_utterances if batch.normalizer_utterances is not None else len(batch.keys)


def tokens_of(batch: Batch, extra_per_utterance: int = 0) -> float:
    """Number of target tokens, ``extra_per_utterance`` (an appended eos) included."""
    tokens = batch.normalizer_tokens if batch.normalizer_tokens is not None else batch.token_count
    return tokens + extra_per_utterance * utterances_of(batch)


def paraformer_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """Paraformer (Gao et al. 2022; FunASR ``Paraformer.forward``), BiCif and contextual members included.

    Total: ``(1 - w) loss_att + w loss_ctc + predictor_weight loss_pre``, plus ``(1 - w) pre_loss_att`` with
    ``use_1st_decoder_loss`` and half the quantity loss of BiCif's second head.
    """
    conf = ObjectiveConf.of(model)
    encoder_out, encoder_out_lens = model.encode(batch.feats, batch.feat_lens)
    text, text_lens = append_eos(batch.text, batch.text_lens, conf.predictor_bias)
    cif = model.predictor(encoder_out, encoder_out_lens, target_lens=text_lens)
    attention_denominator = tokens_of(batch, conf.predictor_bias) if conf.length_normalized_loss else utterances_of(batch)

    def decode(embeds: Tensor) -> Tensor:
        return model.decoder(encoder_out, encoder_out_lens, embeds, text_lens)

    first_logits, embeds = None, cif.embeds
    sampling = conf.sampling_ratio > 0
    if sampling or conf.use_1st_decoder_loss:
        with torch.set_grad_enabled(conf.use_1st_decoder_loss and torch.is_grad_enabled()):
            first_logits = decode(cif.embeds)
    if sampling:
        assert first_logits is not None
        embeds = glance(model, cif.embeds, first_logits.detach(), text, text_lens, conf.sampling_ratio, generator)
    logits = decode(embeds)
    seen = first_logits if first_logits is not None else logits

    loss_att = label_smoothing_loss(logits, text, conf.lsm_weight, attention_denominator)
    pre_denominator = tokens_of(batch, conf.predictor_bias) if conf.length_normalized_loss else utterances_of(batch)
    loss_pre = quantity_loss(cif.token_num, text_lens, pre_denominator)
    stats = {"loss_att": loss_att.item(), "acc": token_accuracy(seen.detach(), text), "loss_pre": loss_pre.item()}
    w = conf.ctc_weight
    loss = (1 - w) * loss_att + conf.predictor_weight * loss_pre
    if w != 0.0:
        loss_ctc = ctc_branch(model, encoder_out, encoder_out_lens, batch)
        stats["loss_ctc"] = loss_ctc.item()
        loss = loss + w * loss_ctc
    if conf.use_1st_decoder_loss:
        pre_loss_att = label_smoothing_loss(first_logits, text, conf.lsm_weight, attention_denominator)
        stats["pre_loss_att"] = pre_loss_att.item()
        loss = loss + (1 - w) * pre_loss_att
    stats["loss"] = loss.item()
    weight = float(text_lens.sum()) if conf.length_normalized_loss else float(len(batch.keys))
    return LossOutput(loss, stats, weight, {"decoder_input_embeds": embeds, "encoder_out": encoder_out})


def glance(model: nn.Module, embeds: Tensor, first_logits: Tensor, text: Tensor, text_lens: Tensor, ratio: float,
           generator: torch.Generator) -> Tensor:
    """The sampler's mixture: the first pass decides how many target embeddings are mixed into ``embeds (B, U, D)``."""
    wanted = text.ne(IGNORE_ID)
    correct = (first_logits.argmax(-1).eq(text) & wanted).sum(dim=1)
    target_embeds = model.decoder.embed(text.clamp(min=0))
    mixed = mix_in_targets(embeds, target_embeds, (text_lens - correct).cpu(), text_lens, ratio, generator)
    return mixed * length_mask(text_lens, mixed.size(1)).unsqueeze(-1)


Objective = Callable[[nn.Module, Batch, torch.Generator], LossOutput]

OBJECTIVES: dict[str, Objective] = {
    "paraformer": paraformer_loss,
}
