"""The values that epochs are judged by: do they exist, which epoch is better, when to stop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from funrecipe.errors import DataError
from funrecipe.train.averaging import rank_epochs
from funrecipe.train.checkpointing import Position
from funrecipe.train.option_rules import watches_plateau
from funrecipe.train.options import Criterion, TrainOptions

log = logging.getLogger(__name__)


def check_criteria(options: TrainOptions, values: Collection[str]) -> list[Criterion]:
    """Before the first update: does an epoch have the values (``phase.name``) that it will be judged by?

    Returns:
        Those of ``best_model_criterion`` that it has.

    Raises:
        DataError: it does not; names the values that it has.
    """
    has = f"choose from {', '.join(sorted(values))}"
    ranking = [f"{phase}.{name}" for phase, name, _ in options.best_model_criterion]
    missing = [name for name in ranking if name not in values]
    if len(missing) == len(ranking):
        hint = f"pass --best_model_criterion '[[phase, value, min or max]]'; {has}"
        raise DataError(f"no value {', '.join(missing)} to choose the best epochs by", hint=hint)
    if missing:
        log.warning("best_model_criterion: this run has no %s", ", ".join(missing))
    watched = [options.val_scheduler_criterion] if watches_plateau(options) else []
    watched += [list(options.early_stopping_criterion)] if options.patience is not None else []
    for phase, name, *_ in watched:
        if f"{phase}.{name}" not in values:
            raise DataError(f"no value {phase}.{name} to judge epochs by", hint=has)
    return [c for c in options.best_model_criterion if f"{c[0]}.{c[1]}" in values]


class UnjudgedError(DataError):
    """An epoch whose updates were made cannot be judged; what is missing can be mended, and the run resumed."""


def check_ranked(position: Position, values: Mapping[str, float], options: TrainOptions) -> None:
    """Raise UnjudgedError if neither the epoch with ``values`` nor one before has what epochs are ranked by.

    Some values are only known when there is something to measure: the F1 of a mark that the validation set has.
    """
    phase, name, _ = options.best_model_criterion[0]
    if not any(f"{phase}.{name}" in epoch for epoch in (*position.ranked.values(), values)):
        has = f"choose from {', '.join(sorted(values))}; the run resumes with this validation"
        said = f"the validation set has nothing to measure {phase}.{name} on, which is to rank the epochs"
        raise UnjudgedError(said, hint=f"pass --best_model_criterion '[[phase, value, min or max]]'; {has}")


def value_of(history: Mapping[int, Mapping[str, float]], epoch: int, phase: str, name: str) -> float:
    """A value of an epoch. Raises DataError if the epoch does not have it."""
    value = history[epoch].get(f"{phase}.{name}")
    if value is None:
        has = ", ".join(sorted(history[epoch]))
        raise DataError(f"no value {phase}.{name} to judge epochs by", hint=f"choose from {has}")
    return value


def epochs_without_gain(position: Position, criterion: Criterion) -> int:
    """How many epochs of the current ranking have ended since the one that is best by ``criterion``."""
    phase, name, mode = criterion
    best = rank_epochs(position.ranked, f"{phase}.{name}", mode)[:1] or [0]
    return sum(epoch > best[0] for epoch in position.ranked)


def why_ended(position: Position, options: TrainOptions) -> str:
    """Why no epoch is left to train, as the options say now; empty while there is one."""
    if position.epoch > options.max_epoch:
        return f"max_epoch {options.max_epoch}"
    if position.epoch_updates:  # an epoch that is not yet judged
        return ""
    if options.max_steps and position.update >= options.max_steps:
        return f"max_steps {options.max_steps}"
    if options.patience is None:
        return ""
    waited = epochs_without_gain(position, options.early_stopping_criterion)
    phase, name, _ = options.early_stopping_criterion
    return f"{phase}.{name} has not improved for {waited} epochs" if waited > options.patience else ""
