"""The audio that a pipeline is called with -> waveforms at the rate of its model."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from funrecipe.audio.channels import ChannelCounter, check_channel
from funrecipe.audio.io import RAW_SUFFIXES, read_audio
from funrecipe.data.kaldi_dir import Utterance, read_scp
from funrecipe.errors import DataError, UsageError
from funrecipe.network import fetch_url, is_url
from funrecipe.pipelines.calls import name_sources

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioSources:
    """How sources are read: at ``sample_rate_hz``, from the network, commands or ffmpeg only if that was allowed.

    Attributes:
        channel: the channel of a recording to take, from 1 on, or ``mix``.
    """

    sample_rate_hz: int
    allow_network: bool = False
    allow_pipes: bool = False
    allow_ffmpeg: bool = False
    channel: int | str = 1
    counter: ChannelCounter = field(default_factory=ChannelCounter, compare=False)

    def __post_init__(self) -> None:
        check_channel(self.channel)

    def in_list(self, audio_in: Any, output_dir: Path | None) -> dict[str, Any] | None:
        """Sources by key if ``audio_in`` is a list or a ``wav.scp``, which needs an ``output_dir``; else None."""
        if isinstance(audio_in, (str, os.PathLike)) and str(audio_in).endswith(".scp"):
            if output_dir is None:
                raise UsageError(
                    "a list of audio needs an output_dir", where=str(audio_in), hint="pass output_dir=FOLDER"
                )
            return {u.utt_id: u for u in read_scp(Path(audio_in), allow_pipes=self.allow_pipes)}
        return name_sources(audio_in) if isinstance(audio_in, (list, tuple)) else None

    def read(self, source: Any, audio_fs: int | None) -> np.ndarray:
        """The waveform (S,) of one source; ``audio_fs``: rate of a source that does not name its own.

        Raises:
            DataError: it cannot be read.
        """
        if isinstance(source, Utterance):
            return self._read(source.audio, audio_fs, allow_pipes=self.allow_pipes)
        if not is_url(source):
            return self._read(source, audio_fs)
        content = fetch_url(source, allow_network=self.allow_network)
        is_raw = urlsplit(source).path.lower().endswith(RAW_SUFFIXES)  # else a page that says "not found" is samples
        try:
            return self._read(content if is_raw else BytesIO(content), audio_fs)
        except DataError as error:
            raise DataError(error.what, where=source, hint=error.hint) from None

    def tell_channels(self, total: int) -> None:
        """Log how many of the ``total`` sources of a call have more than one channel; of single ones, the first."""
        was_told = self.counter.was_told
        if (note := self.counter.take_note(total, self.channel)) and (total > 1 or not was_told):
            logger.warning("%s (pipeline(..., channel=N or 'mix'))", note)

    def _read(self, source: Any, audio_fs: int | None, *, allow_pipes: bool = False) -> np.ndarray:
        return read_audio(
            source,
            sample_rate_hz=self.sample_rate_hz,
            audio_fs=audio_fs,
            channel=self.channel,
            allow_pipes=allow_pipes,
            allow_ffmpeg=self.allow_ffmpeg,
            on_channels=self.counter,
        )

    def read_piece(
        self, audio_in: Any, audio_fs: int | None, cache: MutableMapping[str, Any], *, is_final: bool
    ) -> np.ndarray:
        """A piece of a stream; the resampler in ``cache`` remembers earlier pieces, so cuts leave no trace."""
        empty = audio_in is None or (isinstance(audio_in, bytes) and not audio_in)
        if audio_fs is None or audio_fs == self.sample_rate_hz:
            return np.zeros(0, np.float32) if empty else self.read(audio_in, None)
        import soxr

        piece = np.zeros(0, np.float32) if empty else replace(self, sample_rate_hz=audio_fs).read(audio_in, None)
        if "resampler" not in cache:
            cache["resampler"] = soxr.ResampleStream(audio_fs, self.sample_rate_hz, 1, dtype="float32", quality="HQ")
        return np.asarray(cache["resampler"].resample_chunk(piece, last=is_final))
