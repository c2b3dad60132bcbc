"""Any audio source -> float32 mono waveform at the rate of the model.

Rules:
  format      by content, never by name, and the same for a file, bytes, a pipe and an entry of an archive
              (``signatures``). A known format that cannot be read is refused by name.
  raw pcm     16-bit little-endian mono at ``audio_fs``: what has no signature and comes as bytes, from a pipe or as a
              file ``*.pcm`` or ``*.raw``.
  length      the header's number of samples must be met; where a header only estimates, reading goes to the end.
  channels    the first one, as FunASR 0.x does (a telephone recording is one speaker per channel), or another, or
              the mean of all.
  scale       integer samples by their full scale, so [-1, 1); float samples as they are.
  Kaldi       ``file.ark:offset`` with a wav, or with a matrix in 16-bit units, at the offset.
  pipes       ``command |`` runs only where the user allowed it; so does ffmpeg, for what libsndfile does not read.
  faults      a truncated, corrupt, empty (zero bytes), missing or non-finite source is a DataError with the reason.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from funrecipe.audio.arrays import samples_of
from funrecipe.audio.containers import Reading, content_length_s, read_content, stream_content
from funrecipe.audio.decode import Sound, Wanted
from funrecipe.audio.parts import size_of
from funrecipe.audio.resample import StreamResampler, resample
from funrecipe.audio.settings import check_channel
from funrecipe.errors import DataError, UnsafeFileError, UsageError
from funrecipe.files import special_file
from funrecipe.network import is_url

RAW_SUFFIXES = (".pcm", ".raw")
MAX_FLOAT_SAMPLE = 100.0  # far above any clipping: such samples are integers converted to floats


def read_audio(
    source: Any,
    *,
    sample_rate_hz: int,
    audio_fs: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    channel: int | str = 1,
    allow_pipes: bool = False,
    allow_ffmpeg: bool = False,
    on_channels: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Read one utterance.

    Args:
        source: path, ``file.ark:offset``, ``command |``, bytes, a BytesIO of a file with a header, or an array or torch
            tensor (S,), (S, C) or (C, S) of integers or floats.
        sample_rate_hz: rate of the result.
        audio_fs: rate of a source that does not name its own (raw pcm, arrays); default ``sample_rate_hz``.
        start_s, end_s: the part to read, in seconds; None is the beginning, the end.
        channel: the channel to take, counted from 1, or ``mix``: the mean of all.
        allow_pipes: run a source that ends in ``|`` with bash.
        allow_ffmpeg: let ffmpeg read what libsndfile does not.
        on_channels: called with the number of channels of a source that has more than one.

    Returns:
        float32 (S,) at ``sample_rate_hz``.

    Raises:
        DataError: it cannot be read; names the source and the reason.
        UnsafeFileError: a pipe that was not allowed.
        UsageError: a rate that is not positive, an invalid channel, or a source whose type is not audio.
    """
    raw_rate_hz = sample_rate_hz if audio_fs is None else rate_of(audio_fs)
    if sample_rate_hz <= 0:
        raise UsageError(f"a sampling rate must be positive, not {sample_rate_hz}")
    name = str(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
    reading = Reading(Wanted(start_s, end_s, check_channel(channel)), raw_rate_hz, allow_ffmpeg=allow_ffmpeg)
    try:
        sound = _read(source, reading, allow_pipes=allow_pipes)
        check_samples(sound.samples)
    except UnsafeFileError:
        raise
    except DataError as error:
        raise DataError(f"cannot read audio: {error.what}", where=name, hint=error.hint) from None
    if on_channels is not None and sound.channels > 1:
        on_channels(sound.channels)
    return resample(sound.samples, sound.rate_hz, sample_rate_hz)


def rate_of(audio_fs: Any) -> int:
    """``audio_fs`` as a whole number of Hz, 1 or more. Raises UsageError."""
    if not isinstance(audio_fs, (int, float, np.number)) or not math.isfinite(audio_fs) or audio_fs < 1:
        raise UsageError(f"audio_fs is {audio_fs!r}", where="audio_fs", hint="give a rate in Hz, such as 16000")
    return int(audio_fs)


def stream_audio(
    source: Any,
    *,
    sample_rate_hz: int,
    audio_fs: int | None = None,
    channel: int | str = 1,
    allow_pipes: bool = False,
    allow_ffmpeg: bool = False,
) -> Iterator[np.ndarray]:
    """As :func:`read_audio`, in blocks (S,), so that memory does not grow with the length of a file.

    Other sources than files, and formats that cannot be read in blocks, come as one block. Damage in the middle of a
    file raises when the blocks before it have been given.
    """
    path, offset = split_ark_offset(str(source)) if isinstance(source, (str, os.PathLike)) else ("", None)
    if not path or offset is not None or path.rstrip().endswith("|"):
        yield read_audio(
            source,
            sample_rate_hz=sample_rate_hz,
            audio_fs=audio_fs,
            channel=channel,
            allow_pipes=allow_pipes,
            allow_ffmpeg=allow_ffmpeg,
        )
        return
    raw_rate_hz = sample_rate_hz if audio_fs is None else rate_of(audio_fs)
    reading = Reading(Wanted(channel=check_channel(channel)), raw_rate_hz, allow_ffmpeg=allow_ffmpeg)
    reading = replace(reading, allow_raw=_is_raw_name(path, None))
    converter = StreamResampler(sample_rate_hz)
    try:
        with _opened(path) as file:
            for block, rate_hz in stream_content(file, 0, size_of(file), reading):
                check_samples(block)
                yield converter.convert(block, rate_hz)
        yield converter.flush()
    except DataError as error:
        raise DataError(f"cannot read audio: {error.what}", where=str(source), hint=error.hint) from None


def check_samples(samples: np.ndarray) -> None:
    """Raise a DataError for samples that are not finite, or far outside [-1, 1]."""
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        raise DataError("samples are not finite (NaN or infinity)")
    if loudest > MAX_FLOAT_SAMPLE:
        raise DataError(f"float samples up to {loudest:g}, where full scale is 1", hint="divide by 32768")


def length_s(source: str | io.BytesIO, *, audio_fs: int) -> float | None:
    """Seconds of a file or archive entry by its header where that is exact, else None. Nothing is decoded.

    Args:
        audio_fs: rate of raw samples, in Hz.

    Raises:
        DataError: it is missing, damaged, or not audio.
    """
    if isinstance(source, io.BytesIO):
        return content_length_s(source, 0, size_of(source), Reading(Wanted(), audio_fs))
    path, offset = split_ark_offset(source)
    with _opened(path) as file:
        reading = Reading(Wanted(), audio_fs, _is_raw_name(path, offset), is_entry=offset is not None)
        return content_length_s(file, offset or 0, size_of(file), reading)


def _read(source: Any, reading: Reading, *, allow_pipes: bool) -> Sound:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_bytes(bytes(source), replace(reading, allow_raw=True))
    if isinstance(source, io.BytesIO):
        return _read_bytes(source.getvalue(), reading)
    if not isinstance(source, (str, os.PathLike)):
        return samples_of(source, reading.wanted, reading.raw_rate_hz)
    name = str(source)
    if name.rstrip().endswith("|"):
        if not allow_pipes:
            raise UnsafeFileError(
                "a source that would run a command", where=name, hint="pass --allow_pipes true if you trust it"
            )
        return _read_bytes(_run_pipe(name.rstrip()[:-1]), replace(reading, allow_raw=True))
    path, offset = split_ark_offset(name)
    with _opened(path) as file:
        reading = replace(reading, allow_raw=_is_raw_name(path, offset), is_entry=offset is not None)
        return read_content(file, offset or 0, size_of(file), reading)


def _read_bytes(data: bytes, reading: Reading) -> Sound:
    if not data:
        raise DataError("it has zero bytes")
    return read_content(io.BytesIO(data), 0, len(data), reading)


def _is_raw_name(path: str, offset: int | None) -> bool:
    return offset is None and path.lower().endswith(RAW_SUFFIXES)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """A regular file, open. Raises DataError for anything else, since reading it might never end."""
    if what := special_file(path):
        raise DataError(f"it is {what}, not a file")
    if os.path.isdir(path):
        raise DataError("it is a folder, not a file")
    if is_url(path) and not os.path.exists(path):
        raise DataError("it is a URL, not a file: download it")
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY), "rb")  # without a name, whose extension soundfile would trust
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(getattr(error, "strerror", None) or str(error)) from None
    with file:
        try:
            yield file
        except OSError as error:
            raise DataError(error.strerror or str(error)) from None


def _run_pipe(command: str) -> bytes:
    """The standard output of a Kaldi pipe, which is a shell command by definition. It ends with this process."""
    setpriv = shutil.which("setpriv")  # of Linux; elsewhere the command of a killed process may live on
    prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    done = subprocess.run([*prefix, "bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        raise DataError(f"the command returned {done.returncode}: {last}")
    return done.stdout


def split_ark_offset(source: str) -> tuple[str, int | None]:
    """``a.ark:123`` -> (``a.ark``, 123); any other path, or one that exists with that name, has no offset."""
    path, colon, offset = source.rpartition(":")
    if colon and path and offset.isdecimal() and not os.path.exists(source):
        return path, int(offset)
    return source, None
