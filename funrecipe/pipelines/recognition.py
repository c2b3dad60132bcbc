"""Speech recognition through ``pipeline()``: files, lists and streams."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funrecipe.errors import DataError
from funrecipe.jobs.results import ShardWriter
from funrecipe.pipelines.calls import (
    ARRAY_KEY,
    STREAM_KEYS,
    as_fields,
    as_params,
    check_cache,
    check_is_final,
    check_mode,
    decode_options_of,
    place_of,
    progress_bar,
    refuse_output_dir,
)
from funrecipe.pipelines.tasks import Setup
from funrecipe.transcription import LoadedModel, Transcripts

if TYPE_CHECKING:
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import Recognizer

logger = logging.getLogger(__name__)


class SpeechRecognition:
    """A loaded model that is called with audio. Threads may share it; each stream belongs to its ``cache`` dict."""

    def __init__(self, setup: Setup) -> None:
        self.device = setup.device()
        self.folder = setup.open_folder()
        check_mode(setup.mode, self.folder.family)
        if "vad" in self.folder.mode or "punc" in self.folder.mode:
            logger.warning("%s: only its recognizer runs, without voice activity detection or punctuation", setup.model)
        for name in sorted({"vad_model", "punc_model"} & self.folder.companions.keys()):
            logger.warning("%s names a %s, which is used with pipeline(..., %s='auto')", setup.model, name, name)
        self._batch_size, self._defaults = setup.batch_size, dict(setup.param_dict)
        self._allow_network = setup.allow_network
        self._sources = setup.sources(self.folder.sample_rate_hz)
        self._file_lock = threading.Lock()  # one call at a time writes to an output_dir
        options = self._options(self._defaults)
        self._model = LoadedModel(self.folder, device=self.device, options=options, weights=setup.weights)

    def __call__(
        self,
        audio_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Recognize.

        Args:
            audio_in: path, URL, bytes, array (S,)/(S, C)/(C, S), tensor, a list of these, or a ``*.scp``.
            audio_fs: sampling rate of audio that does not name its own; the model's rate if not given.
            output_dir: in place of the pipeline's; not for a stream.
            param_dict: ``decoding_model``, ``hotword`` or any field of ``DecodeOptions`` for this call; or, for one
                piece of a stream, ``cache`` (the caller's dict, empty at the start), ``is_final``, ``chunk_size``,
                ``encoder_chunk_look_back``, ``decoder_chunk_look_back``.

        Returns:
            ``{"key", "text", "tokens", "score"}``, with ``timestamp`` (``[start, end]`` in ms per token) where the
            model has them; for a list or an scp a list of these, in which audio that cannot be read has an empty
            ``text`` and an ``error``. A piece of a stream gives what it added.

        Raises:
            UsageError: a call that this model cannot answer.
            DataError: audio or a list that cannot be read.
        """
        params = {**self._defaults, **as_params(param_dict)}
        if "cache" in params or "is_final" in params or any(key in STREAM_KEYS for key in param_dict or ()):
            return self._feed(audio_in, audio_fs, params, output_dir or self._sources.output_dir)
        recognizer = self._model.recognizer(self._options(params))
        call = self._sources.call(audio_in, output_dir)
        if call.is_list:
            return self._transcribe(recognizer, call.sources, audio_fs, call.output_dir)
        ((key, source),) = call.sources.items()
        waveform = self._sources.read(source, audio_fs)  # the error of a single input is raised
        (result,) = self._transcribe(recognizer, {key: waveform}, self.folder.sample_rate_hz, call.output_dir)
        if "error" in result:
            raise DataError(f"cannot decode: {result['error']}", where=place_of(source))
        return result

    def _transcribe(
        self, recognizer: Recognizer, sources: Mapping[str, Any], audio_fs: int | None, output_dir: Path | None
    ) -> list[dict[str, Any]]:
        """Decode ``sources``; results in their order."""
        places = {key: place_of(source) for key, source in sources.items()}
        spells_spaces = recognizer.tokenizer.spells_spaces or None

        def decode_into(results: Transcripts) -> Transcripts:
            with progress_bar(len(places)) as advance:
                self._model.decode_into(
                    results,
                    recognizer,
                    places,
                    lambda key: self._sources.read(sources[key], audio_fs),
                    batch_size=self._batch_size,
                    on_batch=lambda: advance(len(results.by_key)),
                )
            return results

        if output_dir is None:
            results = decode_into(Transcripts(spells_spaces=spells_spaces))
        else:
            # A stamp of its own: nothing that an earlier call, perhaps of another model, left there is kept.
            stamp = uuid.uuid4().hex
            with self._file_lock, ShardWriter(output_dir, dict.fromkeys(sources, stamp)) as writer:
                results = decode_into(Transcripts(writer, spells_spaces=spells_spaces))
                writer.write_rtf(self.folder.frames_per_second)
        self._sources.tell_channels(len(sources))
        return [as_fields(key, results.by_key[key]) for key in sources]

    def _options(self, params: Mapping[str, Any]) -> DecodeOptions:
        return decode_options_of(params, allow_network=self._allow_network)

    def _feed(
        self, audio_in: Any, audio_fs: int | None, params: Mapping[str, Any], output_dir: str | Path | None
    ) -> dict[str, Any]:
        """One piece of a stream. The caller's cache holds a dict for the model and, if needed, a resampler."""
        from funrecipe.decode.streaming import StreamOptions, make_streaming_recognizer

        streamer = self._model.made(make_streaming_recognizer, self._options(params))
        refuse_output_dir(output_dir)
        options = StreamOptions.from_param_dict({key: params[key] for key in STREAM_KEYS if key in params})
        is_final = check_is_final(params.get("is_final"))
        cache = check_cache(params.get("cache"), dict, is_final=is_final)
        samples = self._sources.read_piece(audio_in, audio_fs, cache, is_final=is_final)
        update = streamer.feed(samples, cache.setdefault("stream", {}), is_final, options)
        if is_final:
            cache.clear()
        return {"key": ARRAY_KEY, "text": update.text, "tokens": update.tokens, "score": update.score}
