"""Hotwords of a training batch: stretches of its own texts, as FunASR 0.8.8 samples them for contextual models.

Source: ``funasr.datasets.large_datasets.utils.hotword_utils`` (which stretches) and ``padding`` (one list for the whole
batch, "none of them" at its end).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from funrecipe.errors import UsageError
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.output import ObjectiveConf


@dataclass(frozen=True)
class HotwordConf(ObjectiveConf):
    """Keys of ``model_conf``, with the defaults of FunASR's data loader.

    Attributes:
        sample_rate: share of utterances that give hotwords.
        double_rate: share of the long ones among these that give two.
        min_hw_length, max_hw_length: length of a hotword, in tokens.
    """

    sample_rate: float = 0.6
    double_rate: float = 0.1
    min_hw_length: int = 2
    max_hw_length: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min_hw_length <= self.max_hw_length:
            raise UsageError(
                f"model_conf: min_hw_length is {self.min_hw_length}, not from 1 to max_hw_length ({self.max_hw_length})"
            )


def sample_stretches(length: int, conf: HotwordConf, generator: torch.Generator) -> list[tuple[int, int]]:
    """``(start, end)``, the end excluded, of the hotwords that a text of ``length`` tokens gives: none, one or two."""

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def chance(rate: float) -> bool:
        return float(torch.rand((), generator=generator)) < rate

    shortest, longest = conf.min_hw_length, conf.max_hw_length
    if length < shortest or not chance(conf.sample_rate):
        return []
    if length == shortest:
        return [(0, length)]
    found = []
    behind = 0
    if length > shortest + longest + 2 and chance(conf.double_rate):
        start = between(0, length // 3)
        behind = between(start + shortest, start + min(longest, length // 2))
        found.append((start, behind))
    start = between(min(behind, length - shortest), length - shortest)
    found.append((start, between(start + shortest, min(length, start + longest))))
    return found


def sample_hotwords(batch: Batch, conf: HotwordConf, generator: torch.Generator) -> list[list[int]]:
    """Token ids of the hotwords of a batch, in the order of its utterances."""
    words = []
    for text, length in zip(batch.text.tolist(), batch.text_lens.tolist()):
        words += [text[start:end] for start, end in sample_stretches(length, conf, generator)]
    return words
