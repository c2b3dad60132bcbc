"""The small data set: every utterance of a data directory listed in memory, batches of similar length."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from funrecipe.audio.io import split_ark_offset
from funrecipe.data.kaldi_dir import Utterance, read_data_dir
from funrecipe.errors import DataError
from funrecipe.files import write_text
from funrecipe.identity import strict_stamp, value_digest
from funrecipe.train.data.dataset import ItemLimits, Label, TrainItem
from funrecipe.train.data.identity import set_fingerprint


@dataclass
class Inspection:
    """What looking at every utterance of a directory found.

    Attributes:
        items: usable, in byte order of keys.
        dropped: reason -> keys.
        total: utterances with audio or text in the lists.
        fingerprint: of audio and texts; the same wherever they are and whatever is left out.
    """

    items: list[TrainItem]
    dropped: dict[str, list[str]] = field(default_factory=dict)
    total: int = 0
    fingerprint: str = ""

    @property
    def bad_share(self) -> float:
        return 1 - len(self.items) / self.total if self.total else 1.0

    def drop(self, reason: str, key: str) -> None:
        self.dropped.setdefault(reason, []).append(key)


class Measured(NamedTuple):
    """What reading the audio of an utterance gave: its duration, why it cannot be used, a digest of its samples."""

    duration_ms: float
    fault: str | None
    digest: str = ""


Measure = Callable[[Utterance], Measured]


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
        cache_file: measurements are kept here with path, size and times of each file, and used only while these agree.
        label: reads the rich labels of a model that tells them.

    Raises:
        DataError: the lists themselves are broken, or there is no text.
    """
    data = read_data_dir(data_dir)
    if data.texts is None:
        raise DataError(
            "no file 'text' in the data directory", where=str(data_dir), hint="add one with lines 'ID TRANSCRIPT'"
        )
    audio_keys = {u.utt_id for u in data.utterances}
    found = Inspection([], total=len(audio_keys | data.texts.keys()))
    for key in sorted(audio_keys - data.texts.keys()):
        found.drop("audio without text", key)
    for key in sorted(data.texts.keys() - audio_keys):
        found.drop("text without audio", key)
    paired = [u for u in data.utterances if u.utt_id in data.texts]
    measured = measure_all(paired, measure, cache_file, workers)
    contents = []
    for utterance in paired:
        key, text = utterance.utt_id, data.texts[utterance.utt_id]
        labels, plain_text = label(key, text) if label else ((), text)
        tokens = tokenize(plain_text)
        duration_ms, fault, digest = measured[key]
        contents.append((key, text, f"{labels} {digest}"))
        fault = fault or limits.fault(duration_ms, tokens)
        stated_ms = 1000 * data.durations_s.get(key, duration_ms / 1000)
        if not fault and abs(stated_ms - duration_ms) > max(100.0, 0.05 * duration_ms):
            fault = "duration differs from utt2dur"
        if fault:
            found.drop(fault, key)
            continue
        start_s, end_s = utterance.start_s, utterance.end_s
        item = TrainItem(key, utterance.audio, tokens, duration_ms, start_s=start_s, end_s=end_s, labels=labels)
        found.items.append(item)
    found.fingerprint = set_fingerprint(contents)
    return found


def measure_all(
    utterances: Sequence[Utterance], measure: Measure, cache_file: Path | None, workers: int
) -> dict[str, Measured]:
    """Measurements by key; those of unchanged files come from ``cache_file``."""
    cached = read_cache(cache_file) if cache_file else {}
    stamps = {u.utt_id: audio_stamp(u) for u in utterances}
    fresh = [u for u in utterances if cached.get(u.utt_id, [None])[0] != stamps[u.utt_id]]
    results = {u.utt_id: Measured(*cached[u.utt_id][1:]) for u in utterances if u.utt_id in cached}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results.update(zip((u.utt_id for u in fresh), pool.map(measure, fresh)))
    if cache_file and fresh:
        write_text(cache_file, json.dumps({key: [stamps[key], *results[key]] for key in stamps}, ensure_ascii=False))
    return results


def read_cache(path: Path) -> Mapping[str, list]:
    """Earlier measurements by key; none where the file is missing or damaged."""
    try:
        cached = json.loads(path.read_text("utf-8"))
        return {key: entry for key, entry in cached.items() if len(entry) == 4 and is_measurement(*entry)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def is_measurement(stamp: object, duration_ms: object, fault: object, digest: object) -> bool:
    texts = all(isinstance(text, str) for text in (stamp, digest)) and isinstance(fault, (str, type(None)))
    return texts and isinstance(duration_ms, float)


def audio_stamp(utterance: Utterance) -> str:
    """Changes if the file, its place or the segment changes."""
    path, _ = split_ark_offset(utterance.audio)
    return value_digest([utterance.audio, utterance.start_s, utterance.end_s, strict_stamp(path)])[:16]


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
