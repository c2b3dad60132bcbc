"""Optimizers, by the names that configuration files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from funrecipe.errors import UsageError, unknown_name
from funrecipe.train.option_rules import numbers

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "radam": torch.optim.RAdam,
    "nadam": torch.optim.NAdam,
}


def build_optimizer(name: str, parameters: Iterable[nn.Parameter], conf: Mapping[str, Any]) -> Optimizer:
    """The optimizer ``name`` (any case) over the parameters that need gradients. Raises UsageError."""
    if name.lower() not in OPTIMIZERS:
        raise unknown_name("optim: no optimizer", name.lower(), sorted(OPTIMIZERS))
    maker = OPTIMIZERS[name.lower()]
    known = list(inspect.signature(maker).parameters)[1:]
    unknown = set(conf) - set(known)
    if unknown:
        raise UsageError(
            f"optim_conf: '{name}' has no setting {', '.join(sorted(unknown))}", hint=f"use one of {', '.join(known)}"
        )
    trainable = [p for p in parameters if p.requires_grad]
    if not trainable:
        raise UsageError("nothing to train: every parameter is frozen", hint="give fewer prefixes in freeze_param")
    settings = numbers("optim_conf", conf)
    if "fused" in known and "foreach" not in settings:
        settings.setdefault("fused", True)  # one kernel for all parameters: a tenth of a small model's step on a CPU
    try:
        return maker(trainable, **settings)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise UsageError(f"optim_conf: '{name}' with {dict(conf)}: {error}") from None
