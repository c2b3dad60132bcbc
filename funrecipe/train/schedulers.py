"""Learning-rate schedules, by the names that configuration files use.

Step schedules are called after every update; ``ReduceLROnPlateau`` after every epoch, with the validation value.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from funrecipe.errors import UsageError, unknown_name
from funrecipe.train.option_rules import numbers


def warmup_lr(optimizer: Optimizer, warmup_steps: int = 25000) -> LambdaLR:
    """``lr * w**0.5 * min(s**-0.5, s * w**-1.5)`` at step ``s >= 1``, with the peak ``lr`` at ``s = w`` (ESPnet)."""
    w = float(warmup_steps)
    if w <= 0:
        return LambdaLR(optimizer, lambda step: (step + 1) ** -0.5)
    return LambdaLR(optimizer, lambda step: w**0.5 * min((step + 1) ** -0.5, (step + 1) * w**-1.5))


def noam_lr(optimizer: Optimizer, model_size: int = 320, warmup_steps: int = 25000) -> LambdaLR:
    """``lr * d**-0.5 * min(s**-0.5, s * w**-1.5)`` (Vaswani et al. 2017)."""
    scale, w = float(model_size) ** -0.5, float(warmup_steps)
    return LambdaLR(optimizer, lambda step: scale * min((step + 1) ** -0.5, (step + 1) * w**-1.5))


def linear_lr(
    optimizer: Optimizer, warmup_steps: int = 0, total_steps: int = 10000, end_factor: float = 0.0
) -> LambdaLR:
    """Up linearly in ``warmup_steps``, then down linearly to ``end_factor`` of the peak at ``total_steps``."""

    def factor(step: int) -> float:
        s = step + 1
        if s <= warmup_steps:
            return s / warmup_steps
        left = max(0.0, (total_steps - s) / max(1, total_steps - warmup_steps))
        return end_factor + (1.0 - end_factor) * left

    return LambdaLR(optimizer, factor)


class OneCycle(torch_schedulers.OneCycleLR):
    """Past its last step the rate stays, where torch's class would end the training."""

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch < self.total_steps - 1:
            super().step(epoch)


SCHEDULERS: dict[str, Callable[..., LRScheduler | ReduceLROnPlateau]] = {
    "warmuplr": warmup_lr,
    "noamlr": noam_lr,
    "linear": linear_lr,
    "reducelronplateau": torch_schedulers.ReduceLROnPlateau,
    "steplr": torch_schedulers.StepLR,
    "multisteplr": torch_schedulers.MultiStepLR,
    "exponentiallr": torch_schedulers.ExponentialLR,
    "cosineannealinglr": torch_schedulers.CosineAnnealingLR,
    "onecyclelr": OneCycle,
    "cycliclr": torch_schedulers.CyclicLR,
}


TEXTUAL = ("mode", "threshold_mode", "anneal_strategy")


def build_scheduler(
    name: str | None, optimizer: Optimizer, conf: Mapping[str, Any]
) -> LRScheduler | ReduceLROnPlateau | None:
    """The schedule ``name`` (any case; None or "none": constant). Raises UsageError for unknown names or settings."""
    if name is None or name.lower() in ("none", ""):
        return None
    if name.lower() not in SCHEDULERS:
        raise unknown_name("scheduler: no schedule", name.lower(), sorted(SCHEDULERS))
    maker = SCHEDULERS[name.lower()]
    unknown = set(conf) - set(inspect.signature(maker).parameters)
    if unknown:
        raise UsageError(
            f"scheduler_conf: '{name}' has no setting {', '.join(sorted(unknown))}",
            hint=f"use one of {', '.join(list(inspect.signature(maker).parameters)[1:])}",
        )
    settings = numbers("scheduler_conf", conf)
    words = [n for n, v in settings.items() if isinstance(v, str) and n not in TEXTUAL]
    if words:
        raise UsageError(f"scheduler_conf: {words[0]}: '{settings[words[0]]}' is not a number")
    try:
        rehearse(maker, settings)
        return maker(optimizer, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"scheduler_conf: '{name}' with {dict(conf)}: {error}") from None


def rehearse(maker: Callable[..., LRScheduler | ReduceLROnPlateau], settings: Mapping[str, Any]) -> None:
    """Take two steps with an optimizer of no model: some settings are invalid in a step only. Raises as ``maker``."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = maker(optimizer, **settings)
    for _ in range(2):
        optimizer.step()
        schedule.step(*([1.0] if isinstance(schedule, ReduceLROnPlateau) else []))
        if not 0 <= (rate := optimizer.param_groups[0]["lr"]) < math.inf:
            raise ValueError(f"the learning rate becomes {rate:g} times what it was")
