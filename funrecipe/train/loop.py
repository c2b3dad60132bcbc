"""The training loop: epochs, updates, validation; an interrupted run resumes exactly.

All random choices of a batch follow from (seed, epoch, index of the batch, rank): a run that was killed and resumes
from ``checkpoint.pb`` repeats what an undisturbed run would have done, number for number.

:meth:`Trainer.update` is one update from ``zero_grad`` to the log. ``checkpointing`` holds what is kept on disk,
``progress_log`` what is reported, ``criteria`` what epochs are judged by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from funrecipe.errors import DataError, Interrupted, WorkerError
from funrecipe.processes import noted_signals
from funrecipe.train.checkpointing import (
    START_ANEW,
    Identity,
    Position,
    changed_sets,
    forget_run,
    load_run,
    prune_epochs,
    publish_averages,
    publish_epoch,
    refuse_other_settings,
    save_run,
)
from funrecipe.train.criteria import UnjudgedError, check_criteria, check_ranked, value_of, why_ended
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.dataset import BatchLoader
from funrecipe.train.distributed import (
    Ranks,
    agree_on_names,
    average_gradients,
    refuse_differences,
    share_statistics,
    sum_over_ranks,
    wait_for_all,
)
from funrecipe.train.halving import Part, add_gradients, outputs_by_batch
from funrecipe.train.objectives.output import LossOutput, stats_of_whole
from funrecipe.train.options import TrainOptions
from funrecipe.train.precision import DTYPES
from funrecipe.train.progress_log import Clock, DeviceClock, Mean, RunLog
from funrecipe.train.validation import Evaluator, Loss

log = logging.getLogger(__name__)


class NumberedBatch(NamedTuple):
    """The ``index``-th batch of an epoch; None where this rank has nothing to do while another has."""

    index: int  # type: ignore[assignment]  # tuples have a method of this name
    batch: Batch | None


def batch_seed(seed: int, epoch: int, index: int, rank: int) -> int:
    """The seed of every random choice that is made for one batch."""
    return ((seed * 1_000_003 + epoch * 10_007 + index) * 4099 + rank) % (1 << 63)


@dataclass(kw_only=True)
class Trainer:
    """One training run.

    Attributes:
        model: on its device.
        loss: objective of the model's family, auxiliary parts included.
        scheduler: None: the learning rate is constant.
        train_loader: the batches.
        evaluate: validation values of a model (loss, acc, cer_decode, ...), the same on every rank.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        identity: what the run is made of, which a checkpoint must agree with.
        run_log: what the run reports.
        state_to_save: state dict of ``<N>epoch.pb`` (without auxiliary heads, LoRA merged).
    """

    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau | None
    train_loader: BatchLoader
    evaluate: Evaluator
    options: TrainOptions
    precision: str
    identity: Identity
    run_log: RunLog
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    state_to_save: Callable[[nn.Module], dict[str, Tensor]] = nn.Module.state_dict

    def __post_init__(self) -> None:
        self.output_dir = Path(self.options.output_dir)
        self.position = Position()
        self.epoch_mean = Mean()
        self.stat_names: list[str] = []
        self.utterances_seen = self.utterances_too_large = 0
        self.stop_signal = 0
        self.is_stopping = False  # some rank has a stop_signal, and all know it at the same update
        self.is_resumed = False
        self.clock = self.new_clock()
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.precision == "fp16")

    # ---- the run

    def resume(self) -> None:
        """Continue from the checkpoint in the output directory, if there is one; with ``resume`` off, forget that run.

        Raises:
            DataError: the checkpoint is damaged, the data have changed, or epochs will not have the values that they
                are to be judged by. UsageError: the checkpoint has other settings.
        """
        if self.is_resumed:
            return
        self.is_resumed = True
        if self.options.resume:
            self.load_checkpoint()
        here = {name: str(getattr(self.position, name)) for name in ("epoch", "next_batch", "update")}
        refuse_differences(here, self.ranks, self.device)  # an output_dir of its own has no checkpoint
        self.options = replace(self.options, best_model_criterion=check_criteria(self.options, self.values_of_epochs()))
        if not self.options.resume and self.ranks.is_writer:  # only now, when nothing can be refused any more
            forget_run(self.output_dir)
        wait_for_all(self.ranks)

    @property
    def is_finished(self) -> bool:
        return bool(why_ended(self.position, self.options))

    def run(self) -> Position:
        """Train until ``max_epoch``, ``max_steps`` or early stopping; returns where it ended."""
        self.resume()
        if self.is_finished:
            done = f"{self.position.epoch - 1} epochs, {self.position.update} updates"
            log.info("nothing left to do: %s (%s)", why_ended(self.position, self.options), done)
            if self.ranks.is_writer:
                publish_averages(self.output_dir, self.position, self.options, only_missing=True)
            return self.position
        self.run_log.open(self.position)
        try:
            with noted_signals(self.note_signal):
                while not self.is_finished:
                    self.run_epoch()
        finally:
            self.run_log.close()
        log.info("the training ends: %s", why_ended(self.position, self.options))
        return self.position

    def note_signal(self, number: int) -> None:
        """Ctrl-C, SIGTERM and SIGHUP only set ``stop_signal``: all ranks first finish the same update and save it."""
        self.stop_signal = number
        self.is_stopping = self.ranks.world_size == 1

    def values_of_epochs(self) -> set[str]:
        """The values (``phase.name``) that epochs will have; of a run that has ended, those that they have."""
        if self.is_finished:
            return {name for values in self.position.ranked.values() for name in values}
        names = agree_on_names(self.evaluate.names_of_losses(self.model), self.ranks, self.device)
        values = {f"{phase}.{name}" for phase in ("train", "valid") for name in names} | {"train.time"}
        return values | {f"valid.{name}" for name in (self.evaluate.measure.names if self.evaluate.measure else ())}

    def run_epoch(self) -> None:
        """Train for an epoch, or the rest of one; validate; keep what has to be kept."""
        epoch, started = self.position.epoch, time.monotonic()
        self.train_epoch()
        self.optimizer.zero_grad(set_to_none=True)  # validation needs the memory
        self.report_lost_utterances()
        if not self.position.epoch_updates:
            raise DataError(
                f"epoch {epoch}: no update was made ({self.position.skipped} steps were skipped)",
                hint="check the data and the learning rate; steps.jsonl has the losses",
            )
        trained = time.monotonic()
        share_statistics(self.model, self.ranks)
        try:
            valid = self.evaluate(self.model)
            train = {**self.epoch_mean.values(), "time": time.monotonic() - started}
            values = {f"train.{n}": x for n, x in train.items()} | {f"valid.{n}": x for n, x in valid.items()}
            check_ranked(self.position, values, self.options)
        except UnjudgedError:
            self.save_checkpoint()
            raise
        self.run_log.time_left.end_epoch(self.run_log.batch, time.monotonic() - trained)
        self.finish_epoch(values)

    def train_epoch(self) -> None:
        """The rest of the current epoch, or up to ``max_steps``."""
        self.model.train()
        self.run_log.begin_interval(self.position.next_batch)
        self.clock = self.new_clock()
        if self.has_reached_limit:  # resumed before the validation
            return
        batches = self.run_log.bar(self.batches_until_all_have_ended(), self.position.epoch)
        for first in batches:
            self.update(chain([first], islice(batches, self.options.accum_grad - 1)))
            if self.has_reached_limit:
                return
            if self.is_stopping:
                break
            if self.options.save_interval and self.position.update % self.options.save_interval == 0:
                self.save_checkpoint()
        if self.is_stopping:
            self.save_checkpoint()
            reason = f"signal {self.stop_signal}" if self.stop_signal else "a signal to another rank"
            said = f"stopped by {reason} after update {self.position.update}"
            raise Interrupted(said, hint="run the same command again to resume")

    @property
    def has_reached_limit(self) -> bool:
        return bool(self.options.max_steps) and self.position.update >= self.options.max_steps

    def new_clock(self) -> Clock | DeviceClock:
        return DeviceClock(partial(torch.cuda.Event, enable_timing=True)) if self.device.type == "cuda" else Clock()

    # ---- one update, in the order of its steps

    def update(self, batches: Iterable[NumberedBatch]) -> None:
        """One update from ``accum_grad`` batches (fewer at the end of an epoch)."""
        clock, too_large = self.clock, None
        parts: list[Part] = []
        outputs: list[LossOutput] = []
        self.optimizer.zero_grad(set_to_none=True)
        for index, batch in batches:
            clock.lap("iter_time")
            if batch is not None:
                self.utterances_seen += len(batch.keys)
                parts.append((index, batch))
                too_large = too_large or add_gradients(parts, outputs, self.compute, self.drop_gradients)
        if too_large:
            self.note_too_large(too_large, parts)
        norm = self.clip_gradients()
        means, weight = self.means_over_ranks(outputs_by_batch(parts, outputs))
        rate = self.optimizer.param_groups[0]["lr"]
        self.step(norm, means, weight)
        clock.lap("optim_step_time")
        self.position.next_batch = index + 1
        values = {**means, "grad_norm": float(norm), "optim0_lr0": rate}
        if weight:
            self.run_log.add_update(self.position, index + 1, values, clock.laps)
        self.clock = self.new_clock()

    def compute(self, index: int, batch: Batch) -> LossOutput:
        """The loss of a batch or a part of one, its gradient added."""
        output = self.forward(index, batch)
        self.clock.lap("forward_time")
        self.scaler.scale(output.loss / self.options.accum_grad).backward()
        self.clock.lap("backward_time")
        return output

    def forward(self, index: int, batch: Batch) -> LossOutput:
        """The loss of one batch, with random choices that only depend on which batch it is."""
        seed = batch_seed(self.options.seed, self.position.epoch, index, self.ranks.rank)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.autocast(self.device.type, DTYPES.get(self.precision), enabled=self.precision != "fp32"):
            return self.loss(self.model, batch.to(self.device), generator)

    def clip_gradients(self) -> Tensor:
        """Average the gradients over ranks and clip them; returns their norm before clipping."""
        if self.scaler.is_enabled() and all(p.grad is None for p in self.model.parameters()):
            # a rank without a batch has none, but the scaler needs some
            for parameter in (p for p in self.model.parameters() if p.requires_grad):
                parameter.grad = torch.zeros_like(parameter)
        self.scaler.unscale_(self.optimizer)
        average_gradients(self.model.parameters(), self.ranks)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        limit = self.options.grad_clip or float("inf")
        return nn.utils.clip_grad_norm_(parameters, limit, norm_type=self.options.grad_clip_type)

    def step(self, norm: Tensor, means: dict[str, float], weight: float) -> None:
        """Change the weights. An update without any batch or with a gradient that is not finite is skipped."""
        if weight and torch.isfinite(norm):
            self.scaler.step(self.optimizer)
            if self.scheduler is not None and not isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step()
            self.position.update += 1
            self.position.epoch_updates += 1
            self.epoch_mean.add(means, weight)
        else:
            self.position.skipped += 1
            reason = f"the gradient is not finite (norm {float(norm)})" if weight else "no batch was computed"
            log.warning("%s: step skipped, %d so far", reason, self.position.skipped)
        self.scaler.update()

    def means_over_ranks(self, batches: list[list[LossOutput]]) -> tuple[dict[str, float], float]:
        """Statistics of one update over its batches and all ranks, and their weight.

        Losses are already divided by the mean count of all ranks, so their plain mean over ranks is that of the whole;
        shares such as accuracy are weighted.

        Args:
            batches: the outputs of the parts of each batch.
        """
        local, weight = Mean(), 0.0
        for outputs in batches:
            batch_weight = sum(output.weight for output in outputs)
            local.add(stats_of_whole(outputs), batch_weight)
            weight += batch_weight
        values = local.values()
        if self.ranks.world_size == 1:
            return values, weight
        self.stat_names = self.stat_names or agree_on_names(sorted(values), self.ranks, self.device)
        shares = [values.get(name, 0.0) * (weight if name.startswith("acc") else 1.0) for name in self.stat_names]
        *sums, total = sum_over_ranks([*shares, weight], self.ranks, self.device)
        divisors = [total if name.startswith("acc") else self.ranks.world_size for name in self.stat_names]
        return {name: x / n for name, x, n in zip(self.stat_names, sums, divisors) if n}, total

    # ---- what can go wrong with a batch

    def note_too_large(self, utterance: Batch, parts: list[Part]) -> None:
        """Say that the update of ``parts`` is skipped, because one utterance does not fit in memory by itself."""
        self.utterances_too_large += sum(len(batch.keys) for _, batch in parts)
        log.warning("out of memory: the update with %s (%d frames) is skipped; if this recurs, lower --max_ms",
                    utterance.keys[0], utterance.feats.size(1))  # fmt: skip

    def drop_gradients(self) -> None:
        """Forget what a batch that did not fit has left behind."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def report_lost_utterances(self) -> None:
        """Say which utterances could not be read, or did not fit in memory; too many of them end the run."""
        failed = self.train_loader.failed
        seen = max(1, self.utterances_seen + len(failed))
        if failed:
            examples = "; ".join(list(failed.values())[:3])
            log.warning("%d utterances could not be read, for example %s", len(failed), examples)
        if len(failed) / seen > self.options.max_bad_share:
            raise DataError(f"{len(failed)} of {seen} utterances could not be read", where=next(iter(failed)))
        if self.utterances_too_large / seen > self.options.max_bad_share:
            raise WorkerError(
                f"{self.utterances_too_large} of {seen} utterances were in updates that do not fit in memory",
                hint=f"lower --max_ms (now {self.options.max_ms:g}), or use a device with more memory",
            )

    def batches_until_all_have_ended(self) -> Iterator[NumberedBatch]:
        """Batches until *every* rank has run out; a rank that has none left gets None and only adds zeros.

        Counts of the whole step are put into each batch, so that gradients averaged over ranks are those of one
        process with all the utterances.
        """
        batches = self.train_loader.epoch(self.position.epoch, self.position.next_batch)
        index = self.position.next_batch - 1
        while True:
            item = next(batches, None)
            index = item[0] if item else index + 1
            batch = item[1] if item else None
            counts = (batch.token_count, len(batch.keys)) if batch else (0, 0)
            tokens, utterances, alive, stops = sum_over_ranks(
                [*map(float, counts), float(item is not None), float(self.stop_signal != 0)], self.ranks, self.device
            )
            if not alive:
                return
            self.is_stopping = self.is_stopping or bool(stops)
            if batch and self.ranks.world_size > 1:
                batch.normalizer_tokens = tokens / self.ranks.world_size
                batch.normalizer_utterances = utterances / self.ranks.world_size
            yield NumberedBatch(index, batch)

    # ---- the end of an epoch, and checkpoints

    def finish_epoch(self, values: dict[str, float]) -> None:
        """Judge the epoch that has ended, and keep it."""
        position, epoch = self.position, self.position.epoch
        position.history[epoch] = values
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(value_of(position.history, epoch, *self.options.val_scheduler_criterion[:2]))
        if self.options.patience is not None:
            value_of(position.history, epoch, *self.options.early_stopping_criterion[:2])
        position.epoch, position.next_batch, position.epoch_updates = epoch + 1, 0, 0
        self.epoch_mean = Mean()
        memory_gb = torch.cuda.max_memory_reserved() / 2**30 if self.device.type == "cuda" else None
        if self.ranks.is_writer:
            publish_epoch(self.output_dir, self.state_to_save(self.model), position, self.options)
        self.run_log.end_epoch(position, epoch, memory_gb)
        self.save_checkpoint()
        if self.ranks.is_writer:
            prune_epochs(self.output_dir, position, self.options)
        wait_for_all(self.ranks)

    def save_checkpoint(self) -> None:
        """Everything that an exact continuation needs; written by one rank only."""
        if not self.ranks.is_writer:
            return
        save_run(self.output_dir, {
            "model": self.model.state_dict(),
            "optimizers": [self.optimizer.state_dict()],
            "schedulers": [self.scheduler.state_dict() if self.scheduler else None],
            "scaler": self.scaler.state_dict(),
            "reporter": self.epoch_mean.state(),
            "position": dict(vars(self.position)),
            "plan": self.identity.plan,
            "data": dict(self.identity.data),
            "settings": dict(self.identity.settings),
            "judged_by": dict(self.identity.judged_by),
        })  # fmt: skip

    def load_checkpoint(self) -> None:
        """Resume from the newest intact checkpoint. Raises as :meth:`resume`."""
        found = load_run(self.output_dir)
        if found is None:
            return
        path, saved = found
        refuse_other_settings(saved.get("settings", {}), self.identity, path)
        accepted = self.options.accept_changed_data
        changed = changed_sets(saved.get("data", {}), self.identity, path, is_accepted=accepted)
        try:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizers"][0])
            if self.scheduler and saved["schedulers"][0]:
                self.scheduler.load_state_dict(saved["schedulers"][0])
            self.scaler.load_state_dict(saved["scaler"])
            self.position = Position.of_checkpoint(saved["position"])
            self.epoch_mean.restore(saved["reporter"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            said = f"this checkpoint does not belong to these settings: {error}"
            raise DataError(said, where=str(path), hint=START_ANEW) from None
        before = saved.get("judged_by", {})
        other = [f"{name} data" for name in changed] or [
            name for name, value in self.identity.judged_by.items() if before.get(name, value) != value
        ]
        if other and not self.is_finished:
            self.rank_anew(other)
        if (changed or saved.get("plan") != self.identity.plan) and self.position.next_batch:
            message = "data or batch settings differ from those of %s: epoch %d starts again"
            log.warning(message, path, self.position.epoch)
            self.position.next_batch = self.position.epoch_updates = 0
            self.epoch_mean = Mean()
        where = (self.position.epoch, self.position.next_batch + 1, self.position.update)
        log.info("resumed from %s: epoch %d, batch %d, update %d", path, *where)

    def rank_anew(self, changed: list[str]) -> None:
        """Epochs from here on are only compared with each other: those before were made or judged with other data."""
        self.position.ranked_from = self.position.epoch
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.best, self.scheduler.num_bad_epochs = self.scheduler.mode_worse, 0
        log.warning("the %s have changed: epochs are ranked from epoch %d on",
                    " and the ".join(changed), self.position.epoch)  # fmt: skip
