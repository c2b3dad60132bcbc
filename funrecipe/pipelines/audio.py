"""The audio that a pipeline is called with -> waveforms at the rate of its model."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import Utterance, read_scp
from funrecipe.errors import DataError, UsageError
from funrecipe.network import fetch_url, is_url
from funrecipe.pipelines.calls import name_sources


@dataclass(frozen=True)
class AudioSources:
    """How sources are read: at ``sample_rate_hz``, from the network or from commands only if that was allowed."""

    sample_rate_hz: int
    allow_network: bool = False
    allow_pipes: bool = False

    def in_list(self, audio_in: Any, output_dir: Path | None) -> dict[str, Any] | None:
        """Sources by key if ``audio_in`` is a list or a ``wav.scp``, which needs an ``output_dir``; else None."""
        if isinstance(audio_in, (str, os.PathLike)) and str(audio_in).endswith(".scp"):
            if output_dir is None:
                raise UsageError("a list of audio needs an output_dir", where=str(audio_in))
            return {u.utt_id: u for u in read_scp(Path(audio_in), allow_pipes=self.allow_pipes)}
        return name_sources(audio_in) if isinstance(audio_in, (list, tuple)) else None

    def read(self, source: Any, audio_fs: int | None) -> np.ndarray:
        """The waveform ``(S,)`` of one source; ``audio_fs``: rate of a source that does not name its own.

        Raises:
            DataError: it cannot be read.
        """
        rate_hz = self.sample_rate_hz
        if isinstance(source, Utterance):
            return read_audio(source.audio, sample_rate_hz=rate_hz, audio_fs=audio_fs, allow_pipes=self.allow_pipes)
        if not is_url(source):
            return read_audio(source, sample_rate_hz=rate_hz, audio_fs=audio_fs)
        content = fetch_url(source, allow_network=self.allow_network)
        is_raw = urlsplit(source).path.lower().endswith(".pcm")  # else a page that says "not found" would be samples
        try:
            return read_audio(content if is_raw else BytesIO(content), sample_rate_hz=rate_hz, audio_fs=audio_fs)
        except DataError as error:
            raise DataError(error.what, where=source, hint=error.hint) from None

    def read_piece(
        self, audio_in: Any, audio_fs: int | None, cache: MutableMapping[str, Any], *, is_final: bool
    ) -> np.ndarray:
        """A piece of a stream; the resampler in ``cache`` remembers earlier pieces, so cuts leave no trace."""
        empty = audio_in is None or (isinstance(audio_in, bytes) and not audio_in)
        if audio_fs is None or audio_fs == self.sample_rate_hz:
            return np.zeros(0, np.float32) if empty else self.read(audio_in, None)
        import soxr

        piece = np.zeros(0, np.float32) if empty else read_audio(audio_in, sample_rate_hz=audio_fs)
        if "resampler" not in cache:
            cache["resampler"] = soxr.ResampleStream(audio_fs, self.sample_rate_hz, 1, dtype="float32", quality="HQ")
        return np.asarray(cache["resampler"].resample_chunk(piece, last=is_final))
