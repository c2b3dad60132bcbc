"""What every objective returns and shares: settings, denominators, the CTC branch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import ctc_loss
from funrecipe.train.option_rules import loss_setting

Conf = TypeVar("Conf", bound="ObjectiveConf")


@dataclass
class LossOutput:
    """What one batch gives.

    Attributes:
        loss: the scalar to differentiate.
        parts: scalars by FunASR's names (loss_att, loss_pre, acc, ..., loss), on the device of the model, detached.
        weight: how much this batch counts in a mean over batches: its tokens if the loss is length-normalized, else its
            utterances.
        extras: tensors for checks only.
    """

    loss: Tensor
    parts: Mapping[str, Tensor]
    weight: float
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = dict(self.parts)
        named.setdefault("loss", self.loss)
        self.parts = {name: part.detach() for name, part in named.items()}

    @cached_property
    def stats(self) -> dict[str, float]:
        """``parts`` as numbers, in a single copy from the device: a copy for each would stall the loop."""
        values = torch.stack([part.double() for part in self.parts.values()]).tolist()
        return dict(zip(self.parts, values, strict=True))


def stats_of_whole(outputs: Sequence[LossOutput]) -> dict[str, float]:
    """The statistics of a batch that was computed in several parts (``Batch.halves``)."""
    if len(outputs) == 1:
        return outputs[0].stats
    weight = sum(output.weight for output in outputs)
    whole: dict[str, float] = {}
    for name in outputs[0].stats:
        values = [output.stats[name] for output in outputs]
        if name.startswith("acc"):
            whole[name] = sum(value * output.weight for value, output in zip(values, outputs, strict=True)) / weight
        else:  # a perplexity is the exponential of a loss
            whole[name] = math.prod(values) if name == "perplexity" else sum(values)
    return whole


@dataclass(frozen=True)
class ObjectiveConf:
    """``model_conf``, with the defaults of FunASR's classes. Keys of other parts of a model are ignored."""

    ctc_weight: float = 0.5
    lsm_weight: float = 0.0
    length_normalized_loss: bool = False
    predictor_weight: float = 0.0
    predictor_bias: int = 0
    sampling_ratio: float = 0.2
    use_1st_decoder_loss: bool = False

    @classmethod
    def of(cls: type[Conf], model: nn.Module) -> Conf:
        """Raises UsageError for a value of another type."""
        conf: Mapping[str, Any] = getattr(model, "model_conf", None) or {}
        given = [f for f in fields(cls) if conf.get(f.name) is not None]
        return cls(**{f.name: loss_setting(f.name, conf[f.name], type(f.default)) for f in given})


def ctc_branch(head: nn.Module, encoder_out: Tensor, encoder_out_lens: Tensor, batch: Batch) -> Tensor:
    """CTC of a head ``ctc`` divided by the number of utterances (FunASR's ``builtin`` with ``reduce``)."""
    return ctc_loss(head.logits(encoder_out), encoder_out_lens, batch.text, batch.text_lens, utterances_of(batch))


def utterances_of(batch: Batch) -> float:
    return batch.normalizer_utterances if batch.normalizer_utterances is not None else len(batch.keys)


def tokens_of(batch: Batch, extra_per_utterance: int = 0) -> float:
    """The number of target tokens, with ``extra_per_utterance`` (an appended eos)."""
    tokens = batch.normalizer_tokens if batch.normalizer_tokens is not None else batch.token_count
    return tokens + extra_per_utterance * utterances_of(batch)


def attention_denominator(conf: ObjectiveConf, batch: Batch, extra_per_utterance: int) -> float:
    """What sums over tokens are divided by: tokens (length-normalized) or utterances."""
    return tokens_of(batch, extra_per_utterance) if conf.length_normalized_loss else utterances_of(batch)


def weight_of(conf: ObjectiveConf, batch: Batch, extra_per_utterance: int) -> float:
    """How much a batch counts in a mean over batches."""
    utterances = len(batch.keys)
    return float(batch.token_count + extra_per_utterance * utterances if conf.length_normalized_loss else utterances)
