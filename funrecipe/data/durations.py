"""How long utterances are, from ``segments`` or file headers: cheap, for balancing shards. Exact or unknown."""

from __future__ import annotations

from funrecipe.audio.io import length_s
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError


def duration_s(utterance: Utterance, *, audio_fs: int = 16000) -> float | None:
    """Seconds of audio by the file's header, or None when it does not say exactly (mp3, what only ffmpeg reads).

    Args:
        utterance: one with ``end_s`` is answered without opening the file.
        audio_fs: sampling rate of raw ``.pcm`` files, in Hz.
    """
    start_s = utterance.start_s or 0.0
    if utterance.end_s is not None:
        return utterance.end_s - start_s
    if utterance.audio.endswith("|"):
        return None
    try:
        total_s = length_s(utterance.audio, audio_fs=audio_fs)
    except DataError:
        return None  # unreadable: the worker will report it
    return None if total_s is None else max(0.0, total_s - start_s)
