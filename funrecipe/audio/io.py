"""Any audio source -> float32 mono waveform at the rate that the model wants.

Rules:
  channels    the first one, as FunASR 0.x does (a telephone recording is one speaker per channel).
  scale       integer samples by their full scale, so [-1, 1); float samples as they are.
  raw pcm     16-bit little-endian mono at ``audio_fs``: files ``*.pcm`` and bytes without a known header.
  Kaldi       ``file.ark:offset`` with a wav, or with a matrix in 16-bit units, at the offset.
  pipes       ``command |`` runs only where the user allowed it.
  faults      a truncated, corrupt, empty (zero bytes), missing or non-finite source is a DataError with the reason.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from funrecipe.audio.resample import resample
from funrecipe.errors import DataError, UnsafeFileError, UsageError

HEADERS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")
UNKNOWN_WAV_SIZES = range(0x7FFFF000, 1 << 32)  # what SoX and ffmpeg write when they cannot seek back
FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31, np.dtype(np.int8): 2.0**7}
MAX_CHANNELS = 32
MAX_FLOAT_SAMPLE = 100.0  # far above any clipping: such samples are integers that somebody made floats
MAX_OVERSHOOT_S = 0.5  # how far a segment may reach behind its recording: extract-segments of Kaldi


def read_audio(
    source: Any,
    *,
    sample_rate_hz: int,
    audio_fs: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    allow_pipes: bool = False,
) -> np.ndarray:
    """Read one utterance.

    Args:
        source: path, ``file.ark:offset``, ``command |``, bytes, a BytesIO of a file with a header, or an array or torch
            tensor ``(S,)``, ``(S, C)`` or ``(C, S)`` of integers or floats.
        sample_rate_hz: rate of the result.
        audio_fs: rate of a source that does not name its own (raw pcm, arrays); default ``sample_rate_hz``.
        start_s, end_s: the part to read, in seconds; None is the beginning, the end.
        allow_pipes: run a source that ends in ``|`` with bash.

    Returns:
        float32 ``(S,)`` at ``sample_rate_hz``.

    Raises:
        DataError: it cannot be read; names the source and the reason.
        UnsafeFileError: a pipe that was not allowed.
        UsageError: a rate that is not positive, or a source of a type that is no audio.
    """
    if audio_fs is not None and not isinstance(audio_fs, (int, float, np.number)):
        raise UsageError(f"audio_fs is {audio_fs!r}", where="audio_fs", hint="give a rate in Hz, such as 16000")
    raw_rate_hz = sample_rate_hz if audio_fs is None else int(audio_fs)
    if raw_rate_hz <= 0 or sample_rate_hz <= 0:
        raise UsageError(f"a sampling rate must be positive, not {min(raw_rate_hz, sample_rate_hz)}")
    name = str(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
    try:
        if isinstance(source, (str, os.PathLike)):
            samples, rate_hz = _read_named(str(source), raw_rate_hz, start_s, end_s, allow_pipes=allow_pipes)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            samples, rate_hz = _read_bytes(bytes(source), raw_rate_hz, start_s, end_s)
        elif isinstance(source, io.BytesIO):
            samples, rate_hz = _read_container(source, start_s, end_s)
        else:
            samples, rate_hz = _cut(_from_array(source), raw_rate_hz, start_s, end_s), raw_rate_hz
    except _AudioFault as fault:
        raise DataError(f"cannot read audio: {fault}", where=name) from None
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        raise DataError("cannot read audio: samples are not finite (NaN or infinity)", where=name)
    if loudest > MAX_FLOAT_SAMPLE:
        what = f"cannot read audio: float samples up to {loudest:g}, where full scale is 1"
        raise DataError(what, where=name, hint="divide by 32768")
    return resample(samples, rate_hz, sample_rate_hz)


class _AudioFault(Exception):
    """Why a source cannot be read; ``read_audio`` adds the source's name."""


def _read_named(
    source: str, raw_rate_hz: int, start_s: float | None, end_s: float | None, *, allow_pipes: bool
) -> tuple[np.ndarray, int]:
    if source.rstrip().endswith("|"):
        if not allow_pipes:
            raise UnsafeFileError(
                "a source that would run a command", where=source, hint="if you trust it: --allow_pipes true"
            )
        return _read_bytes(_run_pipe(source.rstrip()[:-1]), raw_rate_hz, start_s, end_s)
    path, offset = split_ark_offset(source)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise _AudioFault("the file has zero bytes")
            if offset is not None:
                samples, rate_hz = _read_ark(file, offset, raw_rate_hz)
                return _cut(samples, rate_hz, start_s, end_s), rate_hz
            if path.lower().endswith(".pcm") and file.read(4) not in HEADERS:
                return _cut(_from_pcm(Path(path).read_bytes()), raw_rate_hz, start_s, end_s), raw_rate_hz
            file.seek(0)
            return _read_container(file, start_s, end_s)
    except OSError as error:
        raise _AudioFault(error.strerror or str(error)) from None


def split_ark_offset(source: str) -> tuple[str, int | None]:
    """``a.ark:123`` -> (``a.ark``, 123); any other path, or one that exists with that name, has no offset."""
    path, colon, offset = source.rpartition(":")
    if colon and path and offset.isdecimal() and not os.path.exists(source):
        return path, int(offset)
    return source, None


def _run_pipe(command: str) -> bytes:
    """The standard output of a Kaldi pipe, which is a shell command by definition."""
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        raise _AudioFault(f"the command returned {done.returncode}: {last}")
    return done.stdout


def _read_bytes(data: bytes, raw_rate_hz: int, start_s: float | None, end_s: float | None) -> tuple[np.ndarray, int]:
    if not data:
        raise _AudioFault("zero bytes")
    if data.startswith(HEADERS):
        return _read_container(io.BytesIO(data), start_s, end_s)
    return _cut(_from_pcm(data), raw_rate_hz, start_s, end_s), raw_rate_hz


def _read_container(file: BinaryIO, start_s: float | None, end_s: float | None) -> tuple[np.ndarray, int]:
    """A file that libsndfile knows; only the wanted part is decoded."""
    import soundfile

    _refuse_truncated_wav(file)
    try:
        with soundfile.SoundFile(file) as sound:
            first, stop = _frames(sound.frames, sound.samplerate, start_s, end_s)
            sound.seek(first)
            samples = sound.read(stop - first, dtype="float32", always_2d=True)
            rate_hz = int(sound.samplerate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise _AudioFault(f"{reason} (corrupt, or a format that libsndfile does not know)") from None
    if len(samples) != stop - first:
        raise _AudioFault(f"the file is cut off: {len(samples)} of {stop - first} samples")
    return np.ascontiguousarray(samples[:, 0]), rate_hz


def _refuse_truncated_wav(file: BinaryIO) -> None:
    """libsndfile reads what is left of a cut-off wav without a word, so compare the data size with the file's."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    try:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return
        while len(header := file.read(8)) == 8:
            name, length = header[:4], struct.unpack("<I", header[4:])[0]
            left = size - file.tell()
            if name == b"data":
                if length > left and length not in UNKNOWN_WAV_SIZES:
                    raise _AudioFault(f"the file is cut off: {left} of {length} bytes of samples")
                if length == 0 and left >= 8 and not file.read(4).strip().isalnum():  # not another chunk's name
                    raise _AudioFault(f"its header says no samples, but {left} bytes follow: recording was interrupted")
                return
            file.seek(min(left, length + length % 2), os.SEEK_CUR)
    finally:
        file.seek(0)


def _read_ark(file: BinaryIO, offset: int, raw_rate_hz: int) -> tuple[np.ndarray, int]:
    file.seek(offset)
    head = file.read(12)
    file.seek(offset)
    if head[:4] == b"RIFF":
        length = struct.unpack("<I", head[4:8])[0]
        data = file.read() if length in UNKNOWN_WAV_SIZES else file.read(length + 8)
        return _read_container(io.BytesIO(data), None, None)
    if head[:2] != b"\0B" and head[:5] != b"AUDIO":  # nothing else: kaldiio would unpickle what says so
        raise _AudioFault(f"neither audio nor a Kaldi matrix at byte {offset} of the archive")
    from kaldiio.matio import read_kaldi

    try:
        matrix = read_kaldi(file, endian="<")
    except (ValueError, AssertionError, struct.error, IndexError, RuntimeError) as error:
        raise _AudioFault(f"corrupt at byte {offset} of the archive ({error})") from None
    if isinstance(matrix, tuple):  # kaldiio's own block of a compressed audio file: (rate, samples in [-1, 1])
        return _first_channel(matrix[1]).astype(np.float32), int(matrix[0])
    if matrix.ndim == 2 and min(matrix.shape) > MAX_CHANNELS:
        raise _AudioFault(f"a matrix of shape {matrix.shape} is no waveform (features?)")
    return _first_channel(matrix).astype(np.float32) / 32768.0, raw_rate_hz


def _from_pcm(data: bytes) -> np.ndarray:
    if len(data) % 2:
        raise _AudioFault(f"{len(data)} bytes of 16-bit samples: an odd number, the data is cut off or has a header")
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768.0


def _from_array(source: Any) -> np.ndarray:
    if hasattr(source, "detach"):  # a torch tensor, without importing torch
        source = source.detach().cpu().numpy()
    if not isinstance(source, np.ndarray):
        raise UsageError(f"audio of type {type(source).__name__}", hint="give a path, bytes, a numpy array or a tensor")
    samples = _first_channel(source)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype not in FULL_SCALE:
        raise UsageError(f"samples of type {samples.dtype}", hint="int16, int32 or float")
    return (samples / FULL_SCALE[samples.dtype]).astype(np.float32)


def _first_channel(samples: np.ndarray) -> np.ndarray:
    """``(S,)`` of ``(S,)``, ``(S, C)`` or ``(C, S)``: the shorter side is the channels."""
    if samples.ndim == 2:
        samples = samples[:, 0] if samples.shape[1] <= samples.shape[0] else samples[0]
    if samples.ndim != 1:
        raise UsageError(f"audio of shape {samples.shape}", hint="one utterance: (S,), (S, C) or (C, S)")
    return np.ascontiguousarray(samples)


def _cut(samples: np.ndarray, rate_hz: int, start_s: float | None, end_s: float | None) -> np.ndarray:
    first, stop = _frames(len(samples), rate_hz, start_s, end_s)
    return samples[first:stop]


def _frames(total: int, rate_hz: int, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First and last + 1 sample of a segment; one that leaves the recording by more than Kaldi allows is a fault."""
    first = round((start_s or 0.0) * rate_hz)
    stop = total if end_s is None else round(end_s * rate_hz)
    if first > total or stop > total + MAX_OVERSHOOT_S * rate_hz:
        wanted = f"{start_s or 0.0:g} to {'the end' if end_s is None else format(end_s, 'g')}"
        raise _AudioFault(f"the segment from {wanted} s leaves the recording of {total / rate_hz:.3f} s")
    return first, max(first, min(stop, total))
