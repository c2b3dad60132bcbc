"""The loss of SenseVoice: CTC over the text, cross-entropy of the tags before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from funrecipe.errors import DataError
from funrecipe.models.sense_voice import ITN_ROWS, LANGUAGE_ROWS, QUERIES
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import ctc_loss, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.output import LossOutput, ObjectiveConf, utterances_of

UNTOLD_SHARE = 0.2  # of the utterances, for which the model is not told the language


def sense_voice_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """``loss_ctc + loss_rich`` (FunASR ``SenseVoiceSmall.forward``).

    The model is asked for the labels' own normalization, and in training is told the language of all but a fifth of the
    utterances: one ``torch.rand(1)`` each, in order.

    Raises:
        DataError: the batch has no labels.
    """
    if batch.labels is None:
        raise DataError("SenseVoice training data needs labels", where=", ".join(batch.keys[:3]))
    conf = ObjectiveConf.of(model)
    language_rows, itn_rows = query_rows(model, batch.labels, generator)
    encoder_out, lens = model.encode(batch.feats, batch.feat_lens, language_rows, itn_rows)
    logits = model.ctc.logits(encoder_out)
    utterances = utterances_of(batch)
    loss_ctc = ctc_loss(logits[:, QUERIES:], lens - QUERIES, batch.text, batch.text_lens, utterances)
    told = logits[:, :QUERIES]
    denominator = QUERIES * utterances if conf.length_normalized_loss else utterances
    loss_rich = label_smoothing_loss(told, batch.labels, conf.lsm_weight, denominator)
    parts = {"loss_ctc": loss_ctc, "loss_rich": loss_rich, "acc_rich": token_accuracy(told, batch.labels)}
    weight = batch.token_count + (QUERIES + 1) * len(batch.keys) if conf.length_normalized_loss else len(batch.keys)
    extras = {"language_rows": language_rows, "encoder_out_lens": lens}
    return LossOutput(loss_ctc + loss_rich, parts, float(weight), extras)


def query_rows(model: nn.Module, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of ``embed`` for language and normalization of ``labels`` (B, 4), as two (B,)."""
    auto, without = LANGUAGE_ROWS["auto"], ITN_ROWS["woitn"]
    languages = torch.tensor([model.label_rows.get(i, auto) for i in labels[:, 0].tolist()], device=labels.device)
    itns = torch.tensor([model.label_rows.get(i, without) for i in labels[:, -1].tolist()], device=labels.device)
    if model.training:
        drawn = torch.cat([torch.rand(1, generator=generator) for _ in range(len(labels))]).to(labels.device)
        languages = torch.where(drawn > UNTOLD_SHARE, languages, auto)
    return languages, itns
