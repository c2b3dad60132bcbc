"""How long utterances are, from ``utt2dur``, ``segments`` or file headers: cheap, for balancing shards."""

from __future__ import annotations

import os

from funrecipe.data.kaldi_dir import Utterance

PCM_BYTES_PER_SAMPLE = 2


def duration_s(utterance: Utterance, *, audio_fs: int = 16000) -> float | None:
    """Seconds of audio by the file's header, or None when it does not say.

    Args:
        utterance: one with ``end_s`` is answered without opening the file.
        audio_fs: sampling rate of raw ``.pcm`` files, in Hz.
    """
    start_s = utterance.start_s or 0.0
    if utterance.end_s is not None:
        return utterance.end_s - start_s
    audio = utterance.audio
    if audio.endswith("|"):
        return None
    try:
        if audio.lower().endswith(".pcm"):
            total_s = os.path.getsize(audio) / PCM_BYTES_PER_SAMPLE / audio_fs
        else:
            total_s = _header_s(audio)
    except (OSError, RuntimeError):
        return None  # unreadable: the worker will name it
    return max(0.0, total_s - start_s)


def _header_s(audio: str) -> float:
    path, colon, offset = audio.rpartition(":")
    if not (colon and offset.isdecimal() and path):
        import soundfile

        return float(soundfile.info(audio).duration)
    with open(path, "rb") as archive:  # Kaldi ark of wav files: a RIFF header at the offset
        archive.seek(int(offset))
        if archive.read(4) != b"RIFF":
            raise RuntimeError("not a wav in the archive")
        archive.seek(int(offset) + 22)
        channels, rate_hz = int.from_bytes(archive.read(2), "little"), int.from_bytes(archive.read(4), "little")
        archive.seek(int(offset) + 34)
        bytes_per_sample = int.from_bytes(archive.read(2), "little") // 8
        archive.seek(int(offset) + 40)
        size = int.from_bytes(archive.read(4), "little")
    if not channels * rate_hz * bytes_per_sample:
        raise RuntimeError("not a plain wav header")
    return size / (channels * bytes_per_sample * rate_hz)
