"""What a training run reports: log lines in FunASR's form, time left, JSON lines, CSV, TensorBoard, a plot."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from funrecipe.files import atomic_write, write_text, writing
from funrecipe.train.checkpointing import Position
from funrecipe.train.options import TrainOptions

log = logging.getLogger(__name__)
Item = TypeVar("Item")
PLOTTED = ("train.loss", "valid.loss", "valid.acc", "valid.cer_decode", "train.loss_att", "train.loss_ctc")


class Mean:
    """Weighted means of named values over batches."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def add(self, values: Mapping[str, float], weight: float = 1.0) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * weight
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def values(self) -> dict[str, float]:
        return {name: self.sums[name] / self.weights[name] for name in self.sums if self.weights[name]}

    def state(self) -> dict[str, dict[str, float]]:
        return {"sums": dict(self.sums), "weights": dict(self.weights)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.sums, self.weights = dict(state["sums"]), dict(state["weights"])


class Clock:
    """Seconds by name; each lap begins where the last one ended."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = self.laps.get(name, 0.0) + now - self.last, now


class DeviceClock:
    """A :class:`Clock` of a GPU: what it took there, not what it took to ask for it.

    The first lap, waiting for data, is the time in which the GPU has nothing to do.
    """

    def __init__(self, event: Callable[[], Any]) -> None:
        self.event = event
        self.marks: list[tuple[str, Any]] = []
        self.lap("")

    def lap(self, name: str) -> None:
        mark = self.event()
        mark.record()
        self.marks.append((name, mark))

    @property
    def laps(self) -> dict[str, float]:
        """Waits until the GPU has got there."""
        self.marks[-1][1].synchronize()
        laps: dict[str, float] = {}
        for (_, before), (name, mark) in pairwise(self.marks):
            laps[name] = laps.get(name, 0.0) + before.elapsed_time(mark) / 1000
        return laps


def format_value(value: float) -> str:
    """Three decimals, or an exponent where these would hide the value."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.3e}"
    return f"{value:.3f}"


def format_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={format_value(value)}" for name, value in values.items())


class MetricsFiles:
    """``steps.jsonl`` (every update), ``metrics.jsonl`` and ``metrics.csv`` (every epoch) in the output directory.

    On resuming, records that the interrupted run wrote after its last checkpoint are removed, so that the files hold
    one undisturbed sequence.
    """

    def __init__(self, output_dir: Path, resumed_update: int, resumed_epoch: int) -> None:
        self.steps_path, self.epochs_path = output_dir / "steps.jsonl", output_dir / "metrics.jsonl"
        keep_lines(self.steps_path, lambda record: record.get("update", 0) <= resumed_update)
        keep_lines(self.epochs_path, lambda record: record.get("epoch", 0) < resumed_epoch)
        self.csv_path = output_dir / "metrics.csv"
        self._steps = open(self.steps_path, "a", encoding="utf-8")  # noqa: SIM115  (closed by close)

    def add_step(self, record: Mapping[str, Any]) -> None:
        with writing(self.steps_path):
            self._steps.write(json.dumps(record) + "\n")
            self._steps.flush()

    def add_epoch(self, record: Mapping[str, Any]) -> None:
        with writing(self.epochs_path), open(self.epochs_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        records = read_json_lines(self.epochs_path)
        names = list(dict.fromkeys(name for r in records for name in r))
        with atomic_write(self.csv_path) as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(records)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk had no room for has been said
            self._steps.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file, up to a line that a kill cut off."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            break
        if not isinstance(record, dict):
            break
        records.append(record)
    return records


def keep_lines(path: Path, wanted: Any) -> None:
    records = [r for r in read_json_lines(path) if wanted(r)]
    if path.is_file():
        write_text(path, (json.dumps(r) + "\n" for r in records))


def tensorboard_writers(folder: Path, next_update: int) -> dict[str, Any]:
    """A SummaryWriter for ``folder/train`` and one for ``folder/valid``; an empty mapping without the package.

    Args:
        next_update: what an interrupted run wrote from this update on is hidden.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("the package tensorboard is not installed: no %s (pip install tensorboard adds it)", folder)
        return {}
    return {phase: SummaryWriter(str(folder / phase), purge_step=next_update) for phase in ("train", "valid")}


def write_plot(path: Path, records: Sequence[Mapping[str, float]], names: Iterable[str]) -> None:
    """An SVG with one small line chart per value over epochs (no plotting library needed)."""
    charts = [name for name in names if sum(name in r for r in records) >= 1]
    width, height, margin = 360, 200, 36
    parts = []
    for index, name in enumerate(charts):
        points = [(r["epoch"], r[name]) for r in records if name in r and r[name] == r[name]]
        if not points:
            continue
        (x0, x1), (y0, y1) = (points[0][0], points[-1][0]), (min(y for _, y in points), max(y for _, y in points))

        def place(x: float, y: float, x0: float = x0, x1: float = x1, y0: float = y0, y1: float = y1) -> str:
            across = margin + (x - x0) / ((x1 - x0) or 1) * (width - 2 * margin)
            down = height - margin - (y - y0) / ((y1 - y0) or 1) * (height - 2 * margin)
            return f"{across:.1f},{down:.1f}"

        line = " ".join(place(x, y) for x, y in points)
        parts.append(
            f'<g transform="translate({index % 3 * width},{index // 3 * height})">'
            f'<text x="{margin}" y="20">{name}: {points[-1][1]:.4g} (epoch {points[-1][0]})</text>'
            f'<text x="2" y="{margin + 4}" font-size="9">{y1:.3g}</text>'
            f'<text x="2" y="{height - margin}" font-size="9">{y0:.3g}</text>'
            f'<polyline fill="none" stroke="#1f5fa8" stroke-width="1.5" points="{line}"/></g>'
        )
    rows = (len(charts) + 2) // 3
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * width}" height="{max(1, rows) * height}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>\n'
    )
    write_text(path, svg)


class TimeLeft:
    """How long a run still takes, from what its batches and validations have taken so far.

    Args:
        batches_per_epoch: None if unknown until the first epoch has ended (streamed data).
    """

    def __init__(self, options: TrainOptions, batches_per_epoch: int | None) -> None:
        self.options, self.batches_per_epoch = options, batches_per_epoch
        self.batches = self.validations = 0
        self.train_s = self.valid_s = 0.0

    def add_batches(self, count: int, seconds: float) -> None:
        self.batches, self.train_s = self.batches + count, self.train_s + seconds

    def end_epoch(self, batches: int, valid_s: float) -> None:
        self.batches_per_epoch = batches
        self.validations, self.valid_s = self.validations + 1, self.valid_s + valid_s

    def after(self, position: Position, batch: int) -> str:
        """``h:mm:ss`` after ``batch`` batches of the current epoch, without an early stop; ``unknown`` at first."""
        if not self.batches_per_epoch or not self.batches:
            return "unknown"
        epochs = self.options.max_epoch - position.epoch + 1
        batches = max(0, epochs * self.batches_per_epoch - batch)
        if self.options.max_steps:
            batches = min(batches, (self.options.max_steps - position.update) * self.options.accum_grad)
            epochs = min(epochs, -(-batches // self.batches_per_epoch))
        seconds = batches * self.train_s / self.batches
        seconds += epochs * self.valid_s / self.validations if self.validations else 0.0
        return str(datetime.timedelta(seconds=round(seconds)))


class RunLog:
    """Everything human-readable that a run writes: log lines, metrics files, TensorBoard, the plot.

    Ranks other than the writer only log.

    Args:
        comparable: what the values of two epochs must agree in to be compared, a part of every epoch's record.
    """

    def __init__(
        self, options: TrainOptions, *, is_writer: bool, comparable: Mapping[str, str], batches_per_epoch: int | None
    ) -> None:
        self.options, self.is_writer, self.comparable = options, is_writer, comparable
        self.output_dir = Path(options.output_dir)
        self.time_left = TimeLeft(options, batches_per_epoch)
        self.metrics: MetricsFiles | None = None
        self.tensorboard: dict[str, Any] = {}
        self.begin_interval(0)

    def open(self, position: Position) -> None:
        if self.is_writer:
            self.metrics = MetricsFiles(self.output_dir, position.update, position.epoch)
            self.tensorboard = tensorboard_writers(self.output_dir / "tensorboard", position.update + 1)

    def close(self) -> None:
        if self.metrics:
            self.metrics.close()
        for writer in self.tensorboard.values():
            writer.close()

    def begin_interval(self, batch: int) -> None:
        """``batch`` batches of the epoch are done."""
        self.interval, self.interval_start, self.batch = Mean(), batch, batch

    def bar(self, batches: Iterable[Item], epoch: int) -> Iterator[Item]:
        """``batches`` with a progress bar on a terminal."""
        is_shown = self.is_writer and sys.stderr.isatty()
        yield from tqdm(batches, f"epoch {epoch}", unit="batch", leave=False, disable=not is_shown)

    def add_update(
        self, position: Position, batch: int, values: Mapping[str, float], times: Mapping[str, float]
    ) -> None:
        """An update was made after ``batch`` batches of the epoch: a record, and a log line every few batches."""
        train_s, before = sum(times.values()), self.batch
        self.time_left.add_batches(batch - before, train_s)
        self.batch = batch
        self.interval.add({**times, "train_time": train_s, **values})
        if self.metrics:
            self.metrics.add_step({"update": position.update, "epoch": position.epoch, "batch": batch, **values})
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard["train"].add_scalar(name, value, position.update)
        if batch // self.options.log_interval > before // self.options.log_interval:
            batches = f"{position.epoch}epoch:train:{self.interval_start + 1}-{batch}batch:{position.update}num_updates"
            left = self.time_left.after(position, batch)
            log.info("%s: %s, time_left=%s", batches, format_values(self.interval.values()), left)
            self.begin_interval(batch)

    def end_epoch(self, position: Position, epoch: int, memory_gb: float | None) -> None:
        """The values of ``epoch`` are in ``position.history``."""
        values = position.history[epoch]
        train, valid = (
            format_values({n.partition(".")[2]: v for n, v in values.items() if n.startswith(f"{phase}.")})
            for phase in ("train", "valid")
        )
        memory = "" if memory_gb is None else f", gpu_max_cached_mem_GB={memory_gb:.3f}"
        results = f"[train] {train}, [valid] {valid}, total_count={position.update}{memory}"
        log.info("%depoch results: %s", epoch, results)
        if self.metrics:
            self.metrics.add_epoch({"epoch": epoch, "update": position.update, **self.comparable, **values})
            write_plot(
                self.output_dir / "training.svg",
                [{"epoch": e, **v} for e, v in sorted(position.history.items())],
                PLOTTED,
            )
        if self.tensorboard:
            for name, value in values.items():
                phase, short = name.split(".", 1)
                self.tensorboard[phase].add_scalar(f"epoch/{short}", value, epoch)
