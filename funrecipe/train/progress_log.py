"""What a training run tells: means over batches, log lines in FunASR's form, JSON lines, CSV, TensorBoard, a plot."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from funrecipe.files import atomic_write, write_text

log = logging.getLogger(__name__)


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


def format_value(value: float) -> str:
    """Three decimals, or an exponent where these would hide the value."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.3e}"
    return f"{value:.3f}"


def format_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={format_value(value)}" for name, value in values.items())


def interval_line(epoch: int, first: int, last: int, updates: int, values: Mapping[str, float]) -> str:
    """``2epoch:train:1-50batch:50num_updates: iter_time=..., loss=...``"""
    return f"{epoch}epoch:train:{first}-{last}batch:{updates}num_updates: {format_values(values)}"


def epoch_line(
    epoch: int, train: Mapping[str, float], valid: Mapping[str, float], updates: int, memory_gb: float | None
) -> str:
    """``1epoch results: [train] ..., [valid] ..., total_count=..., gpu_max_cached_mem_GB=...``"""
    line = (
        f"{epoch}epoch results: [train] {format_values(train)}, [valid] {format_values(valid)}, total_count={updates}"
    )
    return line if memory_gb is None else f"{line}, gpu_max_cached_mem_GB={memory_gb:.3f}"


class MetricsFiles:
    """``steps.jsonl`` (every update), ``metrics.jsonl`` and ``metrics.csv`` (every epoch) in the output directory.

    On resuming, records that the interrupted run wrote behind its last checkpoint are removed, so the files hold one
    undisturbed sequence.
    """

    def __init__(self, output_dir: Path, resumed_update: int, resumed_epoch: int) -> None:
        self.steps_path, self.epochs_path = output_dir / "steps.jsonl", output_dir / "metrics.jsonl"
        keep_lines(self.steps_path, lambda record: record["update"] <= resumed_update)
        keep_lines(self.epochs_path, lambda record: record["epoch"] < resumed_epoch)
        self.csv_path = output_dir / "metrics.csv"
        self._steps = open(self.steps_path, "a", encoding="utf-8")  # noqa: SIM115  (closed by close)

    def add_step(self, record: Mapping[str, Any]) -> None:
        self._steps.write(json.dumps(record) + "\n")
        self._steps.flush()

    def add_epoch(self, record: Mapping[str, Any]) -> None:
        with open(self.epochs_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        records = read_json_lines(self.epochs_path)
        names = list(dict.fromkeys(name for r in records for name in r))
        with atomic_write(self.csv_path) as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(records)

    def close(self) -> None:
        self._steps.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file; a last line that a kill cut off is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text("utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def keep_lines(path: Path, wanted: Any) -> None:
    records = [r for r in read_json_lines(path) if wanted(r)]
    if path.is_file():
        write_text(path, (json.dumps(r) + "\n" for r in records))


def tensorboard_writers(folder: Path, next_update: int) -> dict[str, Any]:
    """A SummaryWriter for ``folder/train`` and one for ``folder/valid``; none, and a log line, without the package.

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
