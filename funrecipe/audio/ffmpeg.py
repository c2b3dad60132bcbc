"""Formats that libsndfile does not read, through an installed ffmpeg where the user allowed it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from funrecipe.audio.parts import BLOCK_BYTES, MAX_AUDIO_S
from funrecipe.audio.signatures import Format
from funrecipe.errors import DataError

CONVERT_HINT = "convert it to wav or flac, or install ffmpeg and pass --allow_ffmpeg true"
TIMEOUT_S = 3600


@contextmanager
def converted(file: BinaryIO, start: int, stop: int, found: Format) -> Iterator[BinaryIO]:
    """The first audio stream of a source as a wav file of float samples, all its channels, at its own rate.

    ffmpeg gets a copy of the bytes and the name of their format, so that neither a list of other files inside them
    nor their name has an effect. Any complaint of ffmpeg is an error, since it may not have decoded everything.

    Raises:
        DataError: ffmpeg is not installed, or it cannot read all of the source.
    """
    program = shutil.which("ffmpeg")
    if program is None or not found.demuxer:
        what = "ffmpeg is not installed" if program is None else "ffmpeg cannot read it either"
        raise DataError(f"{found.name}: {what}", hint="convert it to wav or flac")
    with tempfile.NamedTemporaryFile(suffix=".in") as source, tempfile.NamedTemporaryFile(suffix=".wav") as target:
        file.seek(start)
        while block := file.read(min(BLOCK_BYTES, stop - file.tell())):
            source.write(block)
        source.flush()
        command = [
            *(program, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-protocol_whitelist", "file"),
            *("-f", found.demuxer, "-i", f"file:{source.name}", "-map", "0:a:0", "-t", str(MAX_AUDIO_S + 1)),
            *("-c:a", "pcm_f32le", "-rf64", "auto", "-f", "wav", "-y", f"file:{target.name}"),
        ]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise DataError(f"{found.name}: ffmpeg did not finish within {TIMEOUT_S} s") from None
        said = done.stderr.decode("utf-8", "replace").replace(source.name, "the file").strip()
        said = re.sub(r" @ 0x[0-9a-f]+", "", said)
        if done.returncode or said:
            raise DataError(f"{found.name}: ffmpeg could not read all of it ({said.rpartition(chr(10))[2]})")
        with open(target.name, "rb") as wav:
            yield wav
