"""What is minimized: the row of a family names its loss, ``(model, batch, generator) -> LossOutput``."""

from __future__ import annotations

import torch
from torch import nn

from funrecipe.errors import unknown_name
from funrecipe.families import FAMILIES, load_part, names_with
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.output import LossOutput


def compute_loss(family: str, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOutput:
    """The loss of ``batch`` by the objective of ``family`` (config key ``model``).

    Args:
        generator: CPU generator of the training-time choices (the GLM sampler); dropout uses torch's own.

    Raises:
        UsageError: the family has no training objective here.
    """
    row = FAMILIES.get(family)
    if row is None or row.objective is None:
        raise unknown_name("no training objective for models of family", family, names_with("objective"))
    return load_part(row.objective, "train.objectives")(model, batch, generator)
