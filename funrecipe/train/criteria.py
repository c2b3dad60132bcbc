"""The values that epochs are judged by: do they exist, which epoch is better, when to stop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from funrecipe.errors import DataError
from funrecipe.train.checkpointing import Position
from funrecipe.train.options import TrainOptions

log = logging.getLogger(__name__)


def check_criteria(options: TrainOptions, values: Collection[str], *, watches_plateau: bool) -> None:
    """Before the first update: does an epoch have the values (``phase.name``) that it will be judged by?

    Args:
        watches_plateau: whether the schedule looks at ``val_scheduler_criterion``.

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
    watched = [options.val_scheduler_criterion] if watches_plateau else []
    watched += [list(options.early_stopping_criterion)] if options.patience is not None else []
    for phase, name, *_ in watched:
        if f"{phase}.{name}" not in values:
            raise DataError(f"no value {phase}.{name} to judge epochs by", hint=has)


def value_of(history: Mapping[int, Mapping[str, float]], epoch: int, phase: str, name: str) -> float:
    """A value of an epoch. Raises DataError if the epoch does not have it."""
    value = history[epoch].get(f"{phase}.{name}")
    if value is None:
        has = ", ".join(sorted(history[epoch]))
        raise DataError(f"no value {phase}.{name} to judge epochs by", hint=f"choose from {has}")
    return value


def note_gain(position: Position, options: TrainOptions) -> None:
    """Count the epochs since ``early_stopping_criterion`` was best; ``position.epoch`` has just ended."""
    if options.patience is None:
        return
    phase, name, mode = options.early_stopping_criterion
    value, best = value_of(position.history, position.epoch, phase, name), position.best
    is_better = best is None or (value < best if mode == "min" else value > best)
    position.best = value if is_better else best
    position.epochs_without_gain = 0 if is_better else position.epochs_without_gain + 1


def is_out_of_patience(position: Position, options: TrainOptions) -> bool:
    """Whether early stopping ends the run now."""
    waited = position.epochs_without_gain
    if options.patience is None or waited <= options.patience:
        return False
    log.info("%s has not improved for %d epochs: stopping", ".".join(options.early_stopping_criterion[:2]), waited)
    return True
