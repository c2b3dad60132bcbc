"""The training loop: epochs, updates, validation, checkpoints, early stopping, exact resuming.

All random choices of a batch follow from (seed, epoch, index of the batch, rank): a run that was killed and goes on
from ``checkpoint.pb`` repeats what an undisturbed run would have done, number for number.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from funrecipe.checkpoint import load_plain, save_checkpoint
from funrecipe.errors import DataError, Interrupted, UsageError
from funrecipe.train.averaging import average_best, rank_epochs, replace_link
from funrecipe.train.data.batching import Batch
from funrecipe.train.data.dataset import BatchLoader
from funrecipe.train.distributed import Ranks, agree_on_names, average_gradients, sum_over_ranks, wait_for_all
from funrecipe.train.objectives.output import LossOutput
from funrecipe.train.options import TrainOptions
from funrecipe.train.progress_log import Mean, MetricsFiles, epoch_line, interval_line, tensorboard_writers, write_plot

log = logging.getLogger(__name__)
START_ANEW = "another output_dir, or --resume false to start anew"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Loss = Callable[[nn.Module, Batch, torch.Generator], LossOutput]
Evaluate = Callable[[nn.Module], dict[str, float]]


@dataclass
class Position:
    """Where a run stands; everything that ``checkpoint.pb`` keeps besides tensors."""

    epoch: int = 1
    next_batch: int = 0
    update: int = 0
    skipped: int = 0
    epoch_updates: int = 0
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    best: float | None = None
    epochs_without_gain: int = 0
    finished: bool = False


@dataclass
class Trainer:
    """One training run.

    Attributes:
        model: on its device.
        loss: objective of the model's family, auxiliary parts included.
        train_loader, plan_fingerprint: batches, and what they were made from: another plan cannot be resumed in
        mid-epoch. evaluate: validation values of a model (loss, acc, cer_decode, ...), the same on every rank.
        state_to_save: state dict of the checkpoints (without auxiliary heads, LoRA included).
        kept_settings: by name, what a run cannot change on resuming, because checkpoint.pb holds what it led to.
    """

    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau | None
    train_loader: BatchLoader
    plan_fingerprint: str
    evaluate: Evaluate
    options: TrainOptions
    output_dir: Path
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    state_to_save: Callable[[nn.Module], dict[str, torch.Tensor]] = nn.Module.state_dict
    kept_settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.position = Position()
        self.epoch_mean = Mean()
        self.stat_names: list[str] = []
        self.utterances_seen = 0
        self.stop_signal = 0
        self.metrics: MetricsFiles | None = None
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.options.precision == "fp16")
        self.tensorboard: dict[str, Any] = {}

    # ---- the run

    def run(self) -> Position:
        """Train until ``max_epoch``, ``max_steps`` or early stopping; returns where it ended."""
        if self.options.resume and (self.output_dir / "checkpoint.pb").is_file():
            self.load_checkpoint()
        if self.ranks.is_writer:
            self.metrics = MetricsFiles(self.output_dir, self.position.update, self.position.epoch)
            self.tensorboard = tensorboard_writers(self.output_dir / "tensorboard", self.position.update + 1)
        before = (
            {number: signal.signal(number, self.note_signal) for number in STOP_SIGNALS} if in_main_thread() else {}
        )
        try:
            while not self.position.finished and self.position.epoch <= self.options.max_epoch:
                self.run_epoch()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self.metrics:
                self.metrics.close()
            for writer in self.tensorboard.values():
                writer.close()
        return self.position

    def note_signal(self, number: int, frame: object) -> None:
        """Ctrl-C and SIGTERM: the current update is finished and saved first."""
        self.stop_signal = number

    def run_epoch(self) -> None:
        epoch, started = self.position.epoch, time.monotonic()
        reached_limit = self.train_epoch()
        self.report_unreadable()
        if not self.position.epoch_updates:
            raise DataError(
                f"epoch {epoch}: no update was made ({self.position.skipped} steps had a gradient that is not finite)",
                hint="is the data readable and the learning rate sane? see steps.jsonl",
            )
        valid = self.evaluate(self.model)
        train = {**self.epoch_mean.values(), "time": time.monotonic() - started}
        self.finish_epoch(train, valid, reached_limit)

    def report_unreadable(self) -> None:
        """Say which utterances could not be read; too many of them end the run."""
        failed = self.train_loader.failed
        if not failed:
            return
        log.warning(
            "%d utterances could not be read, for example %s", len(failed), "; ".join(list(failed.values())[:3])
        )
        seen = max(1, self.utterances_seen + len(failed))
        if len(failed) / seen > self.options.max_bad_share:
            raise DataError(f"{len(failed)} of {seen} utterances could not be read", where=next(iter(failed)))

    def train_epoch(self) -> bool:
        """The rest of the current epoch; True when ``max_steps`` was reached."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        interval, first, waited = Mean(), self.position.next_batch + 1, time.monotonic()
        pending: list[LossOutput] = []
        batches = self.all_have_ended(self.train_loader.epoch(self.position.epoch, self.position.next_batch))
        shown = self.ranks.is_writer and sys.stderr.isatty()
        for index, batch in tqdm(batches, f"epoch {self.position.epoch}", unit="batch", leave=False, disable=not shown):
            times = {"iter_time": time.monotonic() - waited}
            last_of_update = (index + 1) % self.options.accum_grad == 0
            pending.append(self.accumulate(index, batch, times))
            if last_of_update:
                values = self.update(pending, times)
                times["train_time"] = time.monotonic() - waited
                interval.add({**times, **values})
                self.record_step(index, values)
                pending = []
                self.position.next_batch = index + 1
                wanted = self.options.save_interval and self.position.update % self.options.save_interval == 0
                if wanted or self.stop_signal:
                    self.save_checkpoint()
                if self.stop_signal:
                    raise Interrupted(
                        f"stopped by signal {self.stop_signal} after update {self.position.update}",
                        hint="the same command goes on from here",
                    )
            if (index + 1) % self.options.log_interval == 0:
                log.info(interval_line(self.position.epoch, first, index + 1, self.position.update, interval.values()))
                interval, first = Mean(), index + 2
            if self.options.max_steps and self.position.update >= self.options.max_steps:
                return True
            waited = time.monotonic()
        if pending:  # the last batches of an epoch, fewer than accum_grad
            times = {}
            self.record_step(index, self.update(pending, times))
        return False

    def all_have_ended(self, batches: Iterator[tuple[int, Batch | None]]) -> Iterator[tuple[int, Batch | None]]:
        """Batches until *every* rank has run out; a rank that has none left gets None and only adds zeros.

        Counts of the whole step are put into each batch, so that gradients averaged over ranks are those of one
        process with all the utterances.
        """
        index = self.position.next_batch - 1
        while True:
            item = next(batches, None)
            index = item[0] if item else index + 1
            batch = item[1] if item else None
            tokens, utterances, alive = sum_over_ranks(
                [batch.token_count if batch else 0.0, len(batch.keys) if batch else 0.0, float(item is not None)],
                self.ranks,
                self.device,
            )
            if not alive:
                return
            if batch and self.ranks.world_size > 1:
                batch.normalizer_tokens = tokens / self.ranks.world_size
                batch.normalizer_utterances = utterances / self.ranks.world_size
            yield index, batch

    # ---- one update

    def accumulate(self, index: int, batch: Batch | None, times: dict[str, float]) -> LossOutput:
        """Forward and backward of one batch; gradients add up."""
        self.utterances_seen += len(batch.keys) if batch else 0
        if batch is None:
            return LossOutput(torch.zeros(()), {}, 0.0)
        seed = (self.options.seed * 1_000_003 + self.position.epoch * 10_007 + index) * 4099 + self.ranks.rank
        torch.manual_seed(seed % (1 << 63))
        generator = torch.Generator().manual_seed(seed % (1 << 63))
        started = time.monotonic()
        with self.autocast():
            output = self.loss(self.model, batch.to(self.device), generator)
        times["forward_time"] = time.monotonic() - started
        started = time.monotonic()
        self.scaler.scale(output.loss / self.options.accum_grad).backward()
        times["backward_time"] = time.monotonic() - started
        return output

    def update(self, outputs: list[LossOutput], times: dict[str, float]) -> dict[str, float]:
        """Average gradients over ranks, clip, step. A gradient that is not finite is skipped and counted."""
        started = time.monotonic()
        self.scaler.unscale_(self.optimizer) if self.scaler.is_enabled() else None
        average_gradients(self.model.parameters(), self.ranks)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        limit = self.options.grad_clip or float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, limit, norm_type=self.options.grad_clip_type)
        means, weight = self.means_over_ranks(outputs)
        rate = self.optimizer.param_groups[0]["lr"]
        if torch.isfinite(norm):
            self.scaler.step(self.optimizer)
            if self.scheduler is not None and not isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step()
            self.position.update += 1
            self.position.epoch_updates += 1
            self.epoch_mean.add(means, weight)
        else:
            self.position.skipped += 1
            log.warning(
                "the gradient is not finite (norm %s): step skipped, %d so far", float(norm), self.position.skipped
            )
        self.scaler.update() if self.scaler.is_enabled() else None
        self.optimizer.zero_grad(set_to_none=True)
        times["optim_step_time"] = time.monotonic() - started
        return {**means, "grad_norm": float(norm), "optim0_lr0": rate}

    def means_over_ranks(self, outputs: list[LossOutput]) -> tuple[dict[str, float], float]:
        """Statistics of one update over its batches and all ranks, and their weight.

        Losses are already divided by the mean count of all ranks, so their plain mean over ranks is the whole's; shares
        such as accuracy are weighted.
        """
        local = Mean()
        for output in outputs:
            local.add(output.stats, output.weight)
        values, weight = local.values(), sum(output.weight for output in outputs)
        if self.ranks.world_size == 1:
            return values, weight
        self.stat_names = self.stat_names or agree_on_names(sorted(values), self.ranks, self.device)
        shares = [values.get(name, 0.0) * (weight if name.startswith("acc") else 1.0) for name in self.stat_names]
        *sums, total = sum_over_ranks([*shares, weight], self.ranks, self.device)
        divisors = [total if name.startswith("acc") else self.ranks.world_size for name in self.stat_names]
        return {name: x / n for name, x, n in zip(self.stat_names, sums, divisors) if n}, total

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.options.precision not in types:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=types[self.options.precision])

    def record_step(self, index: int, values: dict[str, float]) -> None:
        if self.metrics:
            self.metrics.add_step(
                {"update": self.position.update, "epoch": self.position.epoch, "batch": index + 1, **values}
            )
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard["train"].add_scalar(name, value, self.position.update)

    # ---- the end of an epoch

    def finish_epoch(self, train: dict[str, float], valid: dict[str, float], reached_limit: bool) -> None:
        position, epoch = self.position, self.position.epoch
        values = {"train": train, "valid": valid}
        memory_gb = torch.cuda.max_memory_reserved() / 2**30 if self.device.type == "cuda" else None
        log.info(epoch_line(epoch, train, valid, position.update, memory_gb))
        position.history[epoch] = {
            f"{phase}.{name}": value for phase, named in values.items() for name, value in named.items()
        }
        if isinstance(self.scheduler, ReduceLROnPlateau):
            phase, name = self.options.val_scheduler_criterion[:2]
            self.scheduler.step(self.criterion_value(epoch, phase, name))
        self.note_gain(epoch)
        position.epoch, position.next_batch, position.epoch_updates = epoch + 1, 0, 0
        position.finished = reached_limit or self.out_of_patience()
        self.epoch_mean = Mean()
        if self.ranks.is_writer:
            save_checkpoint(self.state_to_save(self.model), self.output_dir / f"{epoch}epoch.pb")
            replace_link(self.output_dir / "latest.pb", f"{epoch}epoch.pb")
            self.metrics.add_epoch({"epoch": epoch, "update": position.update, **position.history[epoch]})
            self.write_summaries(epoch)
            self.save_checkpoint()
            self.prune()
        wait_for_all(self.ranks)
        self.check_criteria(epoch)

    def write_summaries(self, epoch: int) -> None:
        records = [{"epoch": e, **values} for e, values in sorted(self.position.history.items())]
        names = ["train.loss", "valid.loss", "valid.acc", "valid.cer_decode", "train.loss_att", "train.loss_ctc"]
        write_plot(self.output_dir / "training.svg", records, names)
        for phase, name, mode in self.options.best_model_criterion:
            history = {
                e: {name: values[f"{phase}.{name}"]}
                for e, values in self.position.history.items()
                if f"{phase}.{name}" in values
            }
            average_best(
                self.output_dir, history, phase=phase, key=name, mode=mode, nbest=[self.options.keep_nbest_models]
            )
        if self.tensorboard:
            for phase_and_name, value in self.position.history[epoch].items():
                phase, name = phase_and_name.split(".", 1)
                self.tensorboard[phase].add_scalar(f"epoch/{name}", value, epoch)

    def check_criteria(self, epoch: int) -> None:
        """After the first epoch, not after the last: is there a value that ranks epochs? Raises DataError."""
        values = self.position.history[epoch]
        missing = [f"{phase}.{name}" for phase, name, _ in self.options.best_model_criterion]
        missing = [name for name in missing if name not in values]
        if len(missing) == len(self.options.best_model_criterion):
            raise DataError(
                f"no value {', '.join(missing)} to choose the best epochs by",
                hint=f"--best_model_criterion '[[phase, value, min or max]]'; this run has {', '.join(sorted(values))}",
            )
        if missing:
            log.warning("best_model_criterion: this run has no %s", ", ".join(missing))

    def criterion_value(self, epoch: int, phase: str, name: str) -> float:
        value = self.position.history[epoch].get(f"{phase}.{name}")
        if value is None:
            known = ", ".join(sorted(self.position.history[epoch]))
            raise DataError(f"no value {phase}.{name} to judge epochs by", hint=f"this run has {known}")
        return value

    def note_gain(self, epoch: int) -> None:
        if self.options.patience is None:
            return
        phase, name, mode = self.options.early_stopping_criterion
        value, best = self.criterion_value(epoch, phase, name), self.position.best
        better = best is None or (value < best if mode == "min" else value > best)
        self.position.best = value if better else best
        self.position.epochs_without_gain = 0 if better else self.position.epochs_without_gain + 1

    def out_of_patience(self) -> bool:
        waited, patience = self.position.epochs_without_gain, self.options.patience
        if patience is None or waited <= patience:
            return False
        log.info("no better %s for %d epochs: stopping", ".".join(self.options.early_stopping_criterion[:2]), waited)
        return True

    def prune(self) -> None:
        """Delete ``<N>epoch.pb`` outside the n best of every criterion; the latest stays."""
        keep = {max(self.position.history)}
        for phase, name, mode in self.options.best_model_criterion:
            keep.update(rank_epochs(self.position.history, f"{phase}.{name}", mode)[: self.options.keep_nbest_models])
        for epoch in self.position.history.keys() - keep:
            (self.output_dir / f"{epoch}epoch.pb").unlink(missing_ok=True)

    # ---- checkpoint.pb

    def save_checkpoint(self) -> None:
        """Everything that an exact continuation needs; written by one rank only."""
        if not self.ranks.is_writer:
            return
        save_checkpoint({
            "model": self.model.state_dict(),
            "optimizers": [self.optimizer.state_dict()],
            "schedulers": [self.scheduler.state_dict() if self.scheduler else None],
            "scaler": self.scaler.state_dict(),
            "reporter": self.epoch_mean.state(),
            "position": dict(vars(self.position)),
            "plan": self.plan_fingerprint,
            "settings": self.kept_settings,
        }, self.output_dir / "checkpoint.pb")  # fmt: skip

    def refuse_other_settings(self, saved: Mapping[str, str], path: Path) -> None:
        """Settings that resuming would silently replace by those of the checkpoint."""
        other = [
            f"{name} is {self.kept_settings[name]}, and was {value}"
            for name, value in saved.items()
            if self.kept_settings.get(name, value) != value
        ]
        if other:
            said = f"the run to resume has other settings: {'; '.join(other)}"
            raise UsageError(said, where=str(path), hint=START_ANEW)

    def load_checkpoint(self) -> None:
        path = self.output_dir / "checkpoint.pb"
        try:
            saved = load_plain(path)
        except DataError as error:
            raise DataError(error.what, where=str(path), hint=START_ANEW) from None
        self.refuse_other_settings(saved.get("settings", {}), path)
        try:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizers"][0])
            if self.scheduler and saved["schedulers"][0]:
                self.scheduler.load_state_dict(saved["schedulers"][0])
            self.scaler.load_state_dict(saved["scaler"])
            self.position = Position(**saved["position"])
            self.epoch_mean.restore(saved["reporter"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"this checkpoint does not belong to these settings: {error}",
                where=str(path),
                hint=START_ANEW,
            ) from None
        if saved["plan"] != self.plan_fingerprint and self.position.next_batch:
            log.warning(
                "data or batch settings differ from those of %s: epoch %d starts again", path, self.position.epoch
            )
            self.position.next_batch = self.position.epoch_updates = 0
            self.epoch_mean = Mean()
        log.info(
            "resumed from %s: epoch %d, batch %d, update %d",
            path,
            self.position.epoch,
            self.position.next_batch + 1,
            self.position.update,
        )


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
