"""The audio that a pipeline is called with -> waveforms at the rate of its model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from funrecipe.audio.channels import ChannelCounter
from funrecipe.audio.io import RAW_SUFFIXES, rate_of, read_audio
from funrecipe.audio.resample import StreamResampler
from funrecipe.audio.settings import AudioSettings
from funrecipe.data.kaldi_dir import Utterance, read_scp
from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text
from funrecipe.network import fetch_url, is_url
from funrecipe.pipelines.calls import name_sources, place_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """The audio that a pipeline is called with, and what is given back for it.

    Attributes:
        sources: by key.
        is_list: several results are given back, of which some may have an ``error``; else one, or an exception.
        output_dir: where results are written; None: nowhere.
    """

    sources: Mapping[str, Any]
    is_list: bool
    output_dir: Path | None

    def answer(
        self, results: list[dict[str, Any]], write: Callable[[Path, list[dict[str, Any]]], None] | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """What is given back. Where there is a folder, ``write`` writes the good results to it; ``failed.scp`` has the
        others.
        """
        if self.output_dir is not None and write is not None:
            write(self.output_dir, [result for result in results if "error" not in result])
            bad = ((result["key"], result["error"]) for result in results if "error" in result)
            lines = (f"{key}\t{place_of(self.sources[key])}\t{error}\n" for key, error in bad)
            write_text(self.output_dir / "failed.scp", lines)
        return results if self.is_list else results[0]

    def failure(self, key: str, error: DataError, **empty: Any) -> dict[str, Any]:
        """In a list, the result for audio that cannot be used; for a single source the error is raised."""
        place = place_of(self.sources[key])
        if not self.is_list:
            raise DataError(error.what, where=error.where or place, hint=error.hint) from None
        logger.warning("%s (%s): %s", key, place, error.what)
        return {"key": key, **empty, "error": error.what}


@dataclass(frozen=True)
class AudioSources:
    """How sources are read: at ``sample_rate_hz``, from the network, commands or ffmpeg only if that was allowed.

    Attributes:
        settings: how it is read; its ``allow_pipes`` is for what a list names, never for a source of a call.
        output_dir: of calls that do not name another.
    """

    sample_rate_hz: int
    settings: AudioSettings = AudioSettings()
    allow_network: bool = False
    output_dir: Path | None = None
    counter: ChannelCounter = field(default_factory=ChannelCounter, compare=False)

    def call(self, audio_in: Any, output_dir: str | Path | None) -> Call:
        """``audio_in`` is one source, a list of them, or a ``wav.scp``, which needs an ``output_dir``."""
        target = Path(output_dir) if output_dir else self.output_dir
        if isinstance(audio_in, (str, os.PathLike)) and str(audio_in).endswith(".scp"):
            if target is None:
                hint = "pass output_dir=FOLDER"
                raise UsageError("a list of audio needs an output_dir", where=str(audio_in), hint=hint)
            utterances = read_scp(Path(audio_in), allow_pipes=self.settings.allow_pipes)
            return Call({u.utt_id: u for u in utterances}, True, target)
        is_list = isinstance(audio_in, (list, tuple))
        return Call(name_sources(audio_in if is_list else [audio_in]), is_list, target)

    def results(
        self, call: Call, audio_fs: int | None, name: str, compute: Callable[[np.ndarray], Any], **empty: Any
    ) -> list[dict[str, Any]]:
        """``{"key", name}`` for every source, computed from its waveform; in a list, failures have ``empty``."""
        results = []
        for key, source in call.sources.items():
            try:
                results.append({"key": key, name: compute(self.read(source, audio_fs))})
            except DataError as error:
                results.append(call.failure(key, error, **empty))
        self.tell_channels(len(results))
        return results

    def read(self, source: Any, audio_fs: int | None) -> np.ndarray:
        """The waveform (S,) of one source; ``audio_fs``: rate of a source that does not name its own.

        Raises:
            DataError: it cannot be read.
        """
        allow_pipes = isinstance(source, Utterance) and self.settings.allow_pipes
        source = source.audio if isinstance(source, Utterance) else source
        if not is_url(source):
            return self._read(source, audio_fs, allow_pipes=allow_pipes)
        content = fetch_url(source, allow_network=self.allow_network)
        is_raw = urlsplit(source).path.lower().endswith(RAW_SUFFIXES)  # else a "not found" page would be samples
        try:
            return self._read(content if is_raw else BytesIO(content), audio_fs)
        except DataError as error:
            raise DataError(error.what, where=source, hint=error.hint) from None

    def tell_channels(self, total: int) -> None:
        """Log how many of the ``total`` sources of a call have more than one channel; of single ones, the first."""
        was_told = self.counter.was_told
        if (note := self.counter.take_note(total, self.settings.channel)) and (total > 1 or not was_told):
            logger.warning("%s (pipeline(..., channel=N or 'mix'))", note)

    def _read(self, source: Any, audio_fs: int | None, *, allow_pipes: bool = False) -> np.ndarray:
        settings = replace(self.settings, audio_fs=audio_fs, allow_pipes=allow_pipes)
        return read_audio(source, sample_rate_hz=self.sample_rate_hz, on_channels=self.counter, **vars(settings))

    def read_piece(
        self, audio_in: Any, audio_fs: int | None, cache: MutableMapping[str, Any], *, is_final: bool
    ) -> np.ndarray:
        """A piece of a stream; the resampler in ``cache`` remembers earlier pieces, so cuts leave no trace."""
        rate_hz = self.sample_rate_hz if audio_fs is None else rate_of(audio_fs)
        empty = audio_in is None or (isinstance(audio_in, (bytes, bytearray, memoryview)) and not len(audio_in))
        resampler = cache.setdefault("resampler", StreamResampler(self.sample_rate_hz))
        piece = np.zeros(0, np.float32)
        if not empty:
            piece = resampler.convert(replace(self, sample_rate_hz=rate_hz).read(audio_in, None), rate_hz)
        return np.concatenate((piece, resampler.flush())) if is_final else piece
