"""The small data set: every utterance of a data directory listed in memory, batches of similar length."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from funrecipe.data.kaldi_dir import DataDir, Utterance, read_data_dir
from funrecipe.errors import DataError
from funrecipe.files import write_text
from funrecipe.train.data.dataset import TrainItem


@dataclass(frozen=True)
class ItemLimits:
    """What is kept: durations and token counts strictly between these (FunASR, large: 100-15000 ms, 0-200)."""

    min_ms: float = 100.0
    max_ms: float = 30000.0
    min_tokens: int = 0
    max_tokens: int = 200
    ms_per_token: float = 60.0  # a model makes one frame in 60 ms and needs at least one for each token
    blank_id: int | None = None  # where <unk> is also CTC's blank, no text may hold it

    def fault(self, duration_ms: float, text: Sequence[int]) -> str | None:
        """Why an item of this length and these token ids is left out, or None."""
        tokens = len(text)
        if duration_ms <= self.min_ms:
            return f"audio not longer than {self.min_ms:g} ms"
        if duration_ms >= self.max_ms:
            return f"audio not shorter than {self.max_ms:g} ms"
        if tokens <= self.min_tokens:
            return "empty text" if tokens == 0 else f"text not longer than {self.min_tokens} tokens"
        if tokens >= self.max_tokens:
            return f"text not shorter than {self.max_tokens} tokens"
        if tokens * self.ms_per_token > duration_ms:
            return "more tokens than the audio can hold"
        if self.blank_id is not None and self.blank_id in text:
            return "text that the vocabulary cannot write"
        return None


@dataclass
class Inspection:
    """What looking at every utterance of a directory found.

    Attributes:
        items: usable, in byte order of keys.
        dropped: reason -> keys.
        total: utterances with audio or text in the lists.
    """

    items: list[TrainItem]
    dropped: dict[str, list[str]] = field(default_factory=dict)
    total: int = 0

    @property
    def bad_share(self) -> float:
        return 1 - len(self.items) / self.total if self.total else 1.0

    def drop(self, reason: str, key: str) -> None:
        self.dropped.setdefault(reason, []).append(key)


Label = Callable[[str, str], tuple[tuple[int, ...], str]]
"""``(key, text) -> (ids of rich labels, text without tags)``."""

Measure = Callable[[Utterance], tuple[float, str | None]]
"""``utterance -> (duration in ms, what is wrong with the audio or None)``."""


def inspect_data_dir(
    data_dir: Path,
    tokenize: Callable[[str], tuple[int, ...]],
    measure: Measure,
    limits: ItemLimits,
    *,
    cache_file: Path | None = None,
    workers: int = 4,
    label: Label | None = None,
) -> Inspection:
    """Pair audio and text by key, look at every file, and sort out what cannot be trained on.

    Args:
        cache_file: measurements are kept here with path, size and time of each file, and used only where they still
        agree.
        label: reads the rich labels of a model that tells them.

    Raises:
        DataError: the lists themselves are broken, or there is no text.
    """
    data = read_data_dir(data_dir)
    if data.texts is None:
        raise DataError(
            "no file 'text' in the data directory", where=str(data_dir), hint="one line per utterance: ID TRANSCRIPT"
        )
    audio_keys = {u.utt_id for u in data.utterances}
    found = Inspection([], total=len(audio_keys | data.texts.keys()))
    for key in sorted(audio_keys - data.texts.keys()):
        found.drop("audio without text", key)
    for key in sorted(data.texts.keys() - audio_keys):
        found.drop("text without audio", key)
    paired = [u for u in data.utterances if u.utt_id in data.texts]
    measured = measure_all(paired, measure, cache_file, workers)
    for utterance in paired:
        labels, text = (
            label(utterance.utt_id, data.texts[utterance.utt_id]) if label else ((), data.texts[utterance.utt_id])
        )
        add_item(found, utterance, data, tokenize(text), measured[utterance.utt_id], limits, labels)
    return found


def add_item(
    found: Inspection,
    utterance: Utterance,
    data: DataDir,
    text: tuple[int, ...],
    measured: tuple[float, str | None],
    limits: ItemLimits,
    labels: tuple[int, ...] = (),
) -> None:
    """Put one utterance into ``found.items`` or ``found.dropped``."""
    key, (duration_ms, audio_fault) = utterance.utt_id, measured
    fault = audio_fault or limits.fault(duration_ms, text)
    stated_s = data.durations_s.get(key)
    if not fault and stated_s is not None and abs(stated_s * 1000 - duration_ms) > max(100.0, 0.05 * duration_ms):
        fault = "duration differs from utt2dur"
    if fault:
        found.drop(fault, key)
    else:
        begin_s, end_s = utterance.start_s, utterance.end_s
        item = TrainItem(key, utterance.audio, text, duration_ms, start_s=begin_s, end_s=end_s, labels=labels)
        found.items.append(item)


def measure_all(
    utterances: Sequence[Utterance], measure: Measure, cache_file: Path | None, workers: int
) -> dict[str, tuple[float, str | None]]:
    """Measurements by key; those of unchanged files come from ``cache_file``."""
    cached = read_cache(cache_file) if cache_file else {}
    prints = {u.utt_id: fingerprint(u) for u in utterances}
    fresh = [u for u in utterances if cached.get(u.utt_id, [None])[0] != prints[u.utt_id]]
    results = {u.utt_id: (float(cached[u.utt_id][1]), cached[u.utt_id][2]) for u in utterances if u.utt_id in cached}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results.update(zip((u.utt_id for u in fresh), pool.map(measure, fresh)))
    if cache_file and fresh:
        write_text(cache_file, json.dumps({key: [prints[key], *results[key]] for key in prints}, ensure_ascii=False))
    return results


def read_cache(path: Path) -> Mapping[str, list]:
    """Earlier measurements by key; none where the file is missing or damaged."""
    try:
        cached = json.loads(path.read_text("utf-8"))
        return {key: entry for key, entry in cached.items() if len(entry) == 3}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def fingerprint(utterance: Utterance) -> str:
    """Changes when the file, its place or the segment changes."""
    path = utterance.audio if os.path.exists(utterance.audio) else utterance.audio.rpartition(":")[0]
    try:
        stat = os.stat(path)
        state = f"{stat.st_size}:{stat.st_mtime_ns}"
    except OSError:
        state = "missing"
    return hashlib.sha256(f"{utterance.audio}|{utterance.start_s}|{utterance.end_s}|{state}".encode()).hexdigest()[:16]


def report_lines(found: Inspection, unknown: Counter[str], data_dir: Path) -> list[str]:
    """What the pre-flight prints: kept, dropped by reason with examples, out-of-vocabulary tokens."""
    hours = sum(item.duration_ms for item in found.items) / 3.6e6
    lines = [f"{data_dir}: {len(found.items)} of {found.total} utterances usable, {hours:.2f} h"]
    for reason, keys in sorted(found.dropped.items(), key=lambda pair: -len(pair[1])):
        examples = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
        lines.append(f"  dropped {len(keys)}: {reason} ({examples})")
    if unknown:
        listed = " ".join(f"{token}x{count}" for token, count in unknown.most_common(30))
        lines.append(
            f"  {sum(unknown.values())} tokens of {len(unknown)} kinds are not in the vocabulary and became <unk>: "
            f"{listed}" + (" ..." if len(unknown) > 30 else "")
        )
    return lines
