"""What identifies training data: the sounds and texts themselves, not where they are or how they are grouped.

Texts and audio of small data are compared by content. The audio of streamed data is too much to read for that: its
files are compared by size and time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence

import numpy as np

from funrecipe.data.kaldi_dir import resolve_audio
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.large import Shard, read_list
from funrecipe.train.distributed import Ranks
from funrecipe.train.options import TrainOptions


def audio_digest(wave: np.ndarray) -> str:
    """Of the samples ``wave`` (S,)."""
    return hashlib.blake2b(np.ascontiguousarray(wave).tobytes(), digest_size=8).hexdigest()


def set_fingerprint(utterances: Iterable[tuple[str, str, str]]) -> str:
    """Of ``(key, text, audio digest)`` in the order of keys."""
    return _digest("\t".join(utterance) for utterance in sorted(utterances))


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
    """Of a set that consists of several directories."""
    return fingerprints[0] if len(fingerprints) == 1 else _digest(fingerprints)


def stream_fingerprint(shards: Iterable[Shard]) -> str:
    """Of the texts, the lists, and size and time of every audio file that they name."""
    lines = []
    for shard in shards:
        if shard.kind == "sound":
            folder = os.path.dirname(shard.files[0])
            audio = {key: resolve_audio(value, folder) for key, value in read_list(shard.files[0]).items()}
            lines += [f"{key} {_stamp(path)}" for key, path in audio.items()]
        else:
            lines.append(_stamp(shard.files[0]))
        if shard.kind != "tar":
            lines += [f"{key} {text}" for key, text in read_list(shard.files[1]).items()]
    return _digest(lines)


def plan_fingerprint(
    items: Sequence[TrainItem], options: TrainOptions, ranks: Ranks, shards: Sequence[Shard] = ()
) -> str:
    """Changes with anything that changes which batches an epoch has."""
    listed = [(item.key, item.audio, item.text, item.duration_ms, item.labels) for item in items]
    files = [file for shard in shards for file in shard.files]
    settings = [options.batch_bins, options.unit, options.seed, options.passes_per_epoch, options.accum_grad,
                options.dataset_conf, options.min_ms, options.max_ms, options.max_tokens, ranks.world_size]  # fmt: skip
    return hashlib.sha256(json.dumps([listed, settings, files], sort_keys=True).encode()).hexdigest()


def _stamp(path: str) -> str:
    try:
        stat = os.stat(path)
    except OSError:
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
