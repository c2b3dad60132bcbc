"""What a run keeps on disk: ``checkpoint.pb`` to resume from exactly, ``<N>epoch.pb``, and the averages of the best.

``checkpoint.pb`` is verified by its checksums when it is read. The one before it stays beside it, so that a damaged
file costs the updates since then, not the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from funrecipe.checkpoint import load_plain, save_checkpoint
from funrecipe.errors import DataError, UsageError, count
from funrecipe.files import replace_link, temporary_name, writing
from funrecipe.identity import value_digest
from funrecipe.train.averaging import average_best, average_name, rank_epochs
from funrecipe.train.options import TrainOptions

log = logging.getLogger(__name__)
CHECKPOINT, PREVIOUS = "checkpoint.pb", "checkpoint.previous.pb"
# What a run leaves beside its checkpoints: epochs, links and averages with their records, values of updates and epochs.
RESULTS = (
    "[0-9]*epoch.pb",
    "latest.pb",
    "*.best.pb",
    "*.ave*.pb",
    "*.ave*.json",
    "steps.jsonl",
    "metrics.jsonl",
    "metrics.csv",
)
START_ANEW = "choose another output_dir, or start over with --resume false"


@dataclass
class Position:
    """Where a run stands; everything that ``checkpoint.pb`` keeps in addition to tensors."""

    epoch: int = 1
    next_batch: int = 0
    update: int = 0
    skipped: int = 0
    epoch_updates: int = 0
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    ranked_from: int = 1  # the first epoch of the ranking: those before were made or judged with other data

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any]) -> Position:
        """From what ``checkpoint.pb`` keeps; names that only an earlier version knew are left out."""
        return cls(**{f.name: saved[f.name] for f in fields(cls) if f.name in saved})

    @property
    def ranked(self) -> dict[int, dict[str, float]]:
        """The part of ``history`` whose values can be compared with each other."""
        return {epoch: values for epoch, values in self.history.items() if epoch >= self.ranked_from}


class Identity(NamedTuple):
    """What a run is made of. A checkpoint fits another run only as far as these agree.

    Attributes:
        plan: fingerprint of an epoch's batches; if it differs, an interrupted epoch starts again.
        data: set -> fingerprint of its audio and texts; changed data are refused, or ranked anew.
        settings: by name, those that must not change, because ``checkpoint.pb`` depends on them.
        judged_by: by name, digests of what the values of an epoch depend on besides weights and data: epochs are only
            compared with each other as long as these are the same.
    """

    plan: str
    data: Mapping[str, str]
    settings: Mapping[str, str]
    judged_by: Mapping[str, str]

    @property
    def comparable(self) -> dict[str, str]:
        """What ``metrics.jsonl`` says with every epoch: short names for all sets, and for what they are judged by."""
        data = "-".join(value[:8] for _, value in sorted(self.data.items()))
        return {"data": data, "judged_by": value_digest(self.judged_by)[:8]}


def save_run(output_dir: Path, content: Mapping[str, Any]) -> None:
    """Publish ``checkpoint.pb``; the one that is there becomes ``checkpoint.previous.pb``. Raises WriteError."""
    path, previous = output_dir / CHECKPOINT, output_dir / PREVIOUS
    with contextlib.suppress(OSError):  # nothing there yet, or a file system without hard links
        second_name = temporary_name(previous)
        os.link(path, second_name)
        os.replace(second_name, previous)
    save_checkpoint(dict(content), path)


def load_run(output_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint of a run with its path; None if there is none yet.

    Raises:
        DataError: every checkpoint that is there is damaged.
    """
    damaged: DataError | None = None
    for name in (CHECKPOINT, PREVIOUS):
        path = output_dir / name
        if not path.is_file():
            continue
        try:
            content = load_plain(path)
            if not isinstance(content, dict) or not {"model", "optimizers", "position"} <= content.keys():
                raise DataError("not a checkpoint of a training run", where=str(path))
        except DataError as error:
            damaged = damaged or DataError(error.what, where=str(path), hint=START_ANEW)
            log.warning("%s is damaged: %s", path, error.what)
            continue
        return path, content
    if damaged is not None:
        raise damaged
    if number := len(list(output_dir.glob("[0-9]*epoch.pb"))):
        said = "no %s to resume from: training starts at epoch 1, with %s (*epoch.pb) of the run before beside it"
        log.warning(f"{said}; --resume false removes them", CHECKPOINT, count(number, "epoch"))
    return None


def forget_run(output_dir: Path) -> None:
    """Remove the weights of an earlier run, so that nothing takes them for those of the run that starts.

    First those that could be resumed, then its epochs, averages and records.
    """
    names = (CHECKPOINT, PREVIOUS, *RESULTS)
    found = [path for name in names for path in sorted(output_dir.glob(name))]
    with writing(output_dir):
        for path in found:
            path.unlink(missing_ok=True)
    if found:
        log.info("resume is off: removed %d files of the run before, its weights among them", len(found))


def refuse_other_settings(saved: Mapping[str, str], identity: Identity, path: Path) -> None:
    """Raise UsageError if resuming would silently replace settings by those of the checkpoint."""
    other = [
        f"{name} is {identity.settings[name]}, and was {value}"
        for name, value in saved.items()
        if identity.settings.get(name, value) != value
    ]
    if other:
        said = f"the run to resume has other settings: {'; '.join(other)}"
        raise UsageError(said, where=str(path), hint=START_ANEW)


def changed_sets(saved: Mapping[str, str], identity: Identity, path: Path, *, is_accepted: bool) -> list[str]:
    """The sets that are no longer what the run was trained and judged with.

    Raises:
        DataError: there are some, and ``is_accepted`` is false.
    """
    changed = [name for name, value in identity.data.items() if saved.get(name, value) != value]
    if changed and not is_accepted:
        raise DataError(
            f"the {' and the '.join(changed)} data have changed since the run to resume was interrupted",
            where=str(path),
            hint="pass --accept_changed_data true to resume with them and rank later epochs separately; "
            f"or {START_ANEW}",
        )
    return changed


def publish_epoch(output_dir: Path, state: Mapping[str, Tensor], position: Position, options: TrainOptions) -> None:
    """Write the weights of the latest epoch, and the averages that it now belongs to. Raises WriteError."""
    epoch = max(position.history)
    save_checkpoint(dict(state), output_dir / f"{epoch}epoch.pb")
    replace_link(output_dir / "latest.pb", f"{epoch}epoch.pb")
    publish_averages(output_dir, position, options)


def publish_averages(
    output_dir: Path, position: Position, options: TrainOptions, *, only_missing: bool = False
) -> None:
    """Write the average of the best epochs by every criterion, or by those that have none. Raises WriteError."""
    for phase, name, mode in options.best_model_criterion:
        if only_missing and (output_dir / average_name(phase, name)).is_file():
            continue
        key = f"{phase}.{name}"
        history = {e: {name: values[key]} for e, values in position.ranked.items() if key in values}
        average_best(output_dir, history, phase=phase, key=name, mode=mode, nbest=[options.keep_nbest_models])


def prune_epochs(output_dir: Path, position: Position, options: TrainOptions) -> None:
    """Delete ``<N>epoch.pb`` outside the n best of every criterion; the latest and earlier rankings' stay."""
    ranked = position.ranked
    keep = {max(position.history)}
    for phase, name, mode in options.best_model_criterion:
        keep.update(rank_epochs(ranked, f"{phase}.{name}", mode)[: options.keep_nbest_models])
    for epoch in ranked.keys() - keep:
        (output_dir / f"{epoch}epoch.pb").unlink(missing_ok=True)
