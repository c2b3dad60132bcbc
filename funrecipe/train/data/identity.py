"""What identifies training data: the sounds and texts themselves, not where they are or how they are grouped.

Texts and audio of small data are compared by content. The audio of streamed data is too much to read for that: its
files are compared by size and time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from funrecipe.audio.io import split_ark_offset
from funrecipe.data.kaldi_dir import read_texts, resolve_audio
from funrecipe.identity import file_stamp, rows_digest, value_digest
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.large import Shard
from funrecipe.train.distributed import Ranks
from funrecipe.train.options import TrainOptions


def audio_digest(wave: np.ndarray) -> str:
    """Digest of the samples ``wave`` (S,)."""
    return hashlib.blake2b(np.ascontiguousarray(wave).tobytes(), digest_size=8).hexdigest()


def set_fingerprint(utterances: Iterable[tuple[str, str, str]]) -> str:
    """Fingerprint of ``(key, text, audio digest)``, in any order."""
    return rows_digest(sorted(utterances))


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
    """Of a set that consists of several directories."""
    return fingerprints[0] if len(fingerprints) == 1 else rows_digest(fingerprints)


def stream_fingerprint(shards: Iterable[Shard]) -> str:
    """Fingerprint of the texts, the lists, and the size and time of every audio file that they name."""
    lines = []
    for shard in shards:
        if shard.kind == "sound":
            folder = os.path.dirname(shard.files[0])
            audio = {key: resolve_audio(value, folder) for key, value in read_texts(shard.files[0]).items()}
            lines += [f"{key} {file_stamp(split_ark_offset(path)[0])}" for key, path in audio.items()]
        else:
            lines.append(file_stamp(shard.files[0]))
        if shard.kind != "tar":
            lines += [f"{key} {text}" for key, text in read_texts(shard.files[1]).items()]
    return rows_digest(lines)


def plan_fingerprint(
    items: Sequence[TrainItem], options: TrainOptions, ranks: Ranks, shards: Sequence[Shard] = ()
) -> str:
    """Fingerprint of everything that decides which batches an epoch has."""
    listed = [(item.key, item.audio, item.text, item.duration_ms, item.labels, item.speech_ms)
              for item in items]  # fmt: skip
    files = [file for shard in shards for file in shard.files]
    settings = [options.batch_bins, options.unit, options.seed, options.passes_per_epoch, options.accum_grad,
                options.dataset_conf, options.min_ms, options.max_ms, options.max_tokens, ranks.world_size]  # fmt: skip
    return value_digest([listed, settings, files])
