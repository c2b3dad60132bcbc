"""The plots of a report, as SVG text to be put into its page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funrecipe.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR_COLOUR = "#4878a8"


def bar_plot(labels: Sequence[str], values: Sequence[float], *, title: str, y_label: str) -> str:
    """One bar for each label, with its value on top."""
    figure, axes = _figure(title, y_label)
    bars = axes.bar(range(len(labels)), values, color=BAR_COLOUR)
    axes.bar_label(bars, fmt="%.3g", fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    if len(labels) > 4:
        axes.tick_params(axis="x", labelrotation=30)
    return _svg(figure)


def histogram(values: Sequence[float], *, title: str, x_label: str, y_label: str, upper: float) -> str:
    """A histogram of values in 20 intervals from 0 to ``upper``; larger values are counted in the last."""
    figure, axes = _figure(title, y_label)
    axes.hist([min(value, upper) for value in values], bins=20, range=(0, upper), color=BAR_COLOUR)
    axes.set_xlabel(x_label)
    return _svg(figure)


def _figure(title: str, y_label: str) -> tuple[Any, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("the report needs matplotlib", hint="pip install 'funrecipe[report]'") from None
    # A Figure of its own, not pyplot: no global state, no display, safe in threads.
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    from matplotlib import rc_context

    stream = io.StringIO()
    # Text stays text (a tenth of the size); fixed ids and no date, so that the same report twice has the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "funrecipe"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = stream.getvalue()
    return svg[svg.index("<svg") :]
