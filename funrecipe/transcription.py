"""``funrecipe.load(model).transcribe(audio)``: a loaded recognizer with typed results.

>>> import funrecipe
>>> model = funrecipe.load("egs/quickstart/model", device="cpu")
>>> transcript = model.transcribe("egs/quickstart/data/wav/BAC009S0150W0034.flac")
>>> len(transcript.tokens) == len(transcript.text)
True

``pipeline()`` is built on it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from funrecipe.audio.io import read_audio
from funrecipe.errors import DataError, UsageError
from funrecipe.hub import open_model
from funrecipe.identity import file_stamp
from funrecipe.jobs.shards import ShardEntry
from funrecipe.text.postprocess import postprocess

if TYPE_CHECKING:
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import Recognizer
    from funrecipe.jobs.results import ShardWriter
    from funrecipe.model_folder import ModelFolder

logger = logging.getLogger(__name__)

MAX_OPTION_SETS = 8  # recognizers kept for calls with other options


@dataclass(frozen=True)
class Transcript:
    """What was recognized in one recording.

    Attributes:
        text: human-readable: spaces only where the language has them.
        tokens: of the model's vocabulary.
        score: the search's score; scores of utterances of different length do not compare.
        timestamps_ms: (start, end) of each token, where the model has them.
        is_estimated: these were fitted to the tokens (docs/timestamps.md).
        nbest: all hypotheses, best first, where more than one was asked for.
        language, emotion, event: from models that recognize them.
        error: why the audio could not be recognized, in lists; ``text`` is then empty.
    """

    text: str
    tokens: tuple[str, ...] = ()
    score: float = 0.0
    timestamps_ms: tuple[tuple[int, int], ...] | None = None
    is_estimated: bool = False
    nbest: tuple[Transcript, ...] = ()
    language: str | None = None
    emotion: str | None = None
    event: str | None = None
    error: str | None = None


class Transcripts:
    """What the worker's loop writes to: transcripts in memory and, where there is one, the files of ``writer``."""

    def __init__(self, writer: ShardWriter | None = None, *, spells_spaces: bool | None = None) -> None:
        self._writer, self._spells_spaces = writer, spells_spaces
        self.done: dict[str, Any] = {}
        self.by_key: dict[str, Transcript] = {}

    def write(self, key: str, *, tokens: Sequence[str], text: str, score: float, **rest: Any) -> None:
        if self._writer is not None:
            self._writer.write(key, tokens=tokens, text=text, score=score, **rest)
        times = rest.get("timestamp_ms")
        # A list file has a space between all words; here spaces stand only where the language has them.
        transcript = self._transcript(tokens, score)
        self.by_key[key] = replace(
            transcript,
            timestamps_ms=None if times is None else tuple((start, end) for start, end in times),
            is_estimated=rest.get("is_estimated", False),
            nbest=tuple(self._transcript(other, score) for other, _, score in rest.get("nbest") or ()),
            **(rest.get("rich") or {}),
        )

    def _transcript(self, tokens: Sequence[str], score: float) -> Transcript:
        return Transcript(postprocess(tokens, spells_spaces=self._spells_spaces).text, tuple(tokens), score)

    def fail(self, key: str, audio: str, reason: str) -> None:
        if self._writer is not None:
            self._writer.fail(key, audio, reason)
        logger.warning("%s (%s): %s", key, audio, reason)
        self.by_key[key] = Transcript("", error=reason)


def group_by_options(options: Mapping[str, Any], keys: Sequence[str]) -> dict[tuple[tuple[str, Any], ...], list[str]]:
    """Keys by the options that hold for them: those given once, and those of which a list has one for every key.

    Raises:
        UsageError: a list of another length.
    """
    for name, value in options.items():
        if isinstance(value, list) and len(value) != len(keys):
            raise UsageError(f"{name} has {len(value)} values for {len(keys)} recordings", where=name)
    groups: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for number, key in enumerate(keys):
        chosen = tuple((name, v[number] if isinstance(v, list) else v) for name, v in options.items())
        groups.setdefault(chosen, []).append(key)
    return groups


def check_names(options: Iterable[str], where: str) -> None:
    """Raise a UsageError for a name that no decode option has."""
    from funrecipe.decode.options import OPTIONS

    for name in options:
        if name not in (*OPTIONS, "allow_network"):
            raise UsageError(f"unknown option '{name}'", where=where, hint=f"use one of: {', '.join(sorted(OPTIONS))}")


class LoadedModel:
    """A model that recognizes. Threads may share it.

    Attributes:
        folder: the model folder.
        device: where it computes.
        network: the network with its weights, for inference only.
    """

    def __init__(
        self, folder: ModelFolder, *, device: str, options: DecodeOptions, weights: Path | None = None
    ) -> None:
        from funrecipe.decode.recognizer import load_model

        self.folder, self.device, self._options = folder, device, options
        self._lock = threading.Lock()  # recognizers are made once
        self._made: dict[tuple[Any, ...], Any] = {}  # recognizers of files and of streams, by options
        self.network = load_model(folder, device=device, weights=weights, precision=options.precision)
        self.recognizer(options)  # raise the error of a wrong option here, not at the first call

    @property
    def sample_rate_hz(self) -> int:
        return self.folder.sample_rate_hz

    def transcribe(self, audio: Any, *, audio_fs: int | None = None, **options: Any) -> Transcript:
        """Recognize one recording.

        Args:
            audio: path, bytes of a file, or samples (S,), (S, C).
            audio_fs: sampling rate in Hz of samples that do not name their own; the model's rate if not given.
            options: fields of ``DecodeOptions`` for this call (``beam_size``, ``hotword``, ...).

        Raises:
            DataError: the audio cannot be read or decoded.
            UsageError: an option that this model's family does not use.
        """
        waveform = read_audio(audio, sample_rate_hz=self.sample_rate_hz, audio_fs=audio_fs)
        (transcript,) = self.transcribe_all([waveform], **options)
        if transcript.error:
            place = str(audio) if isinstance(audio, (str, os.PathLike)) else f"<{type(audio).__name__}>"
            raise DataError(f"cannot decode: {transcript.error}", where=place)
        return transcript

    def transcribe_all(
        self, audio: Sequence[Any], *, audio_fs: int | None = None, batch_size: int = 16, **options: Any
    ) -> list[Transcript]:
        """Recognize many recordings, batched by length; one that cannot be read has an ``error``.

        Args:
            options: as in :meth:`transcribe`; a list has one value per recording (``language=["zh", "en"]``).
        """
        if isinstance(audio, (str, bytes, bytearray, memoryview, os.PathLike)) or getattr(audio, "ndim", 2) == 1:
            what, hint = f"the audio is of type {type(audio).__name__}, not a list", "call transcribe, or give a list"
            raise UsageError(what, where="transcribe_all", hint=hint)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size is {batch_size!r}", where="transcribe_all", hint="give a whole number from 1")
        check_names(options, "transcribe")
        sources = {str(number): source for number, source in enumerate(audio)}

        def read(key: str) -> np.ndarray:
            return read_audio(sources[key], sample_rate_hz=self.sample_rate_hz, audio_fs=audio_fs)

        results = Transcripts(spells_spaces=self.folder.tokenizer.spells_spaces or None)
        for chosen, keys in group_by_options(options, list(sources)).items():
            recognizer = self.recognizer(replace(self._options, **dict(chosen)))
            self.decode_into(results, recognizer, dict.fromkeys(keys, ""), read, batch_size=batch_size)
        return [results.by_key[key] for key in sources]

    def decode_into(
        self,
        results: Transcripts,
        recognizer: Recognizer,
        places: Mapping[str, str],
        read: Callable[[str], np.ndarray],
        *,
        batch_size: int,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the worker's loop (batches by length, survives bad audio) over ``places``: key -> where it comes from."""
        from funrecipe.jobs.decode_shard import BATCH_AUDIO_S, decode_shard

        entries = [ShardEntry(key, place, stamp=file_stamp(place)) for key, place in places.items()]
        decode_shard(
            entries,
            results,
            recognizer,
            lambda entry: read(entry.id),
            batch_size=batch_size,
            batch_audio_s=BATCH_AUDIO_S[self.device.split(":")[0]],
            on_batch=on_batch,
        )

    def recognizer(self, options: DecodeOptions) -> Recognizer:
        """The recognizer of whole files for some options."""
        from funrecipe.decode.recognizer import make_recognizer

        return self.made(make_recognizer, options)

    def made(self, make: Callable[..., Any], options: DecodeOptions) -> Any:
        """What ``make`` makes of the network for some options, kept for later calls; all share the network."""
        key = (make, options, file_stamp(options.hotword or ""))  # a list of hotwords that changed is read again
        with self._lock:
            made = self._made.pop(key, None)
            if made is None:
                made = make(self.network, self.folder, device=self.device, options=options)
            self._made[key] = made  # the last one in the dict is the last one used
            if len(self._made) > MAX_OPTION_SETS:
                del self._made[next(iter(self._made))]
            return made


def load(
    model: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> LoadedModel:
    """Load a recognizer.

    Args:
        model: a model folder, or the id of a model that is on disk.
        device: ``cpu``, ``cuda``, ``cuda:1``; None: the GPU if there is one.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``; None: as ``decoding.yaml`` says, else fp32.
        weights: a checkpoint in place of the model's own.
        options: fields of ``DecodeOptions``, defaults of every call.

    Raises:
        UsageError: an option that this model's family does not use, a family that does not recognize speech.
        DataError, UnsafeFileError: a model that cannot be read.
    """
    from funrecipe.decode.device import find_device
    from funrecipe.decode.options import DecodeOptions

    check_names(options, "load")
    return LoadedModel(
        open_model(model),
        device=find_device("auto" if device is None else device),
        options=DecodeOptions(precision=precision, **options),
        weights=None if weights is None else Path(weights),
    )
