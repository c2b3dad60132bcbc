"""One scored run as one self-contained HTML page, and as ``RESULTS.md``."""

from __future__ import annotations

import base64
import html
import math
import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from funrecipe.errors import UsageError
from funrecipe.score.plots import bar_plot, histogram
from funrecipe.score.scoring import Scoring, percent

# What begins a link, an image, code or a table cell, or (not next to a letter, since model ids hold _) emphasis.
_MARKDOWN = re.compile(r"[\\`|\[\]*]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Audio:
    """Where an utterance can be heard: a file, and the part of it in seconds for a segment."""

    path: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class RunFacts:
    """What the page shows in addition to the scores. ``workers``: number → (audio seconds, decoding seconds)."""

    title: str
    audio: Mapping[str, Audio] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)
    speaker_of: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    speechio: Mapping[str, Any] | None = None


def render_html(
    scoring: Scoring, summary: Mapping[str, Any], facts: RunFacts, *, page_folder: Path, audio_mode: str
) -> str:
    """The page; ``summary`` is ``summary_json`` with ``analysis``; links to audio are relative to ``page_folder``."""
    return _template("report.html.j2").render(
        title=facts.title,
        summary=summary,
        analysis=summary["analysis"],
        coverage_line=scoring.coverage.line(),
        speechio=facts.speechio,
        plots=_plots(scoring, summary["analysis"], facts),
        utterances=_utterances(scoring, summary["analysis"], facts, page_folder, audio_mode),
    )


def render_markdown(scoring: Scoring, summary: Mapping[str, Any], facts: RunFacts) -> str:
    return _template("RESULTS.md.j2").render(
        title=facts.title,
        summary=summary,
        analysis=summary["analysis"],
        coverage_line=scoring.coverage.line(),
        speechio=facts.speechio,
        workers=_real_time_factors(facts),
    )


def _template(name: str) -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    except ImportError:
        raise UsageError("the report needs jinja2", hint="pip install 'funrecipe[report]'") from None
    environment = Environment(
        loader=PackageLoader("funrecipe.score", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["rate"] = lambda value: "–" if value is None else f"{value:.2f} %"
    environment.filters["plain"] = plain_markdown
    return environment.get_template(name)


def plain_markdown(value: object) -> str:
    """``value`` as one line of Markdown, escaped: names and settings come from the data."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _utterances(
    scoring: Scoring, analysis: Mapping[str, Any], facts: RunFacts, page_folder: Path, audio_mode: str
) -> list[dict[str, Any]]:
    """Rows of the table with short keys, since they are written once per utterance; ``report.js`` names them."""
    flags: dict[str, list[str]] = {}
    for name, ids in (("missing", scoring.coverage.missing), ("empty", scoring.coverage.empty)):
        for utterance_id in ids:
            flags.setdefault(utterance_id, []).append(name)
    for item in analysis["hallucinations"]:
        flags.setdefault(item["id"], []).append(item["reason"])
    rows = []
    for utterance_id, ref, hyp, counts, ops in zip(
        scoring.ids, scoring.refs, scoring.hyps, scoring.counts.tolist(), scoring.ops
    ):
        row: dict[str, Any] = {"id": utterance_id, "r": ref, "h": hyp, "o": ops.decode(), "c": counts}
        if utterance_id in facts.durations_s:
            row["d"] = round(facts.durations_s[utterance_id], 2)
        if utterance_id in facts.speaker_of:
            row["s"] = facts.speaker_of[utterance_id]
        if utterance_id in flags:
            row["f"] = sorted(set(flags[utterance_id]))
        if utterance_id in facts.audio and (url := _audio_url(facts.audio[utterance_id], page_folder, audio_mode)):
            row["a"] = url
        rows.append(row)
    return rows


def _audio_url(audio: Audio, page_folder: Path, mode: str) -> str | None:
    """A relative link or a data URL; None for what a browser cannot open (an ark, a pipe, a missing file)."""
    path = Path(audio.path)
    kind = mimetypes.guess_type(path.name)[0] or ""
    if mode == "none" or not kind.startswith("audio/") or not path.is_file():
        return None
    end = "" if audio.end_s is None else f",{audio.end_s:.3f}"
    fragment = "" if audio.start_s is None else f"#t={audio.start_s:.3f}{end}"
    if mode == "embed":
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}{fragment}"
    return quote(Path(os.path.relpath(path, page_folder)).as_posix()) + fragment


def _plots(scoring: Scoring, analysis: Mapping[str, Any], facts: RunFacts) -> list[str]:
    plots = [_bucket_plot(analysis["lengths"], "Error rate by length of the reference")]
    if "durations" in analysis:
        plots.append(_bucket_plot(analysis["durations"], "Error rate by duration"))
    rates = [percent(sum(row[1:]), row[0] + row[1] + row[3]) for row in scoring.counts.tolist()]
    plots.append(
        histogram(
            [rate for rate in rates if math.isfinite(rate)],
            title="Error rates of utterances (100 % and more in the last bar)",
            x_label="error rate, %",
            y_label="utterances",
            upper=100.0,
        )
    )
    if factors := _real_time_factors(facts):
        labels = [f"job {number}" for number in factors]
        plots.append(bar_plot(labels, list(factors.values()), title="Real-time factor by worker", y_label="RTF"))
    return plots


def _bucket_plot(buckets: Sequence[Mapping[str, Any]], title: str) -> str:
    known = [bucket for bucket in buckets if bucket["rate"] is not None]
    labels = [f"{bucket['bucket']}\nn={bucket['utterances']}" for bucket in known]
    return bar_plot(labels, [bucket["rate"] for bucket in known], title=title, y_label="error rate, %")


def _real_time_factors(facts: RunFacts) -> dict[int, float]:
    return {number: decode_s / audio_s for number, (audio_s, decode_s) in facts.workers.items() if audio_s}
