"""``Tasks.auto_speech_recognition`` with ``vad_model``, ``punc_model`` or ``spk_model``: recordings of any length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from funrecipe.audio.io import stream_audio
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import UsageError
from funrecipe.files import write_text
from funrecipe.hub import open_companion
from funrecipe.jobs.results import RESULTS
from funrecipe.pipelines.calls import as_params, check_mode, check_revision, decode_options_of
from funrecipe.pipelines.tasks import Setup
from funrecipe.recordings.formats import parse_formats, write_formats
from funrecipe.recordings.merging import chosen_length_s

MODELS = ("vad_model", "punc_model", "spk_model")
OPTIONS = {"text_rules": "punc_model", "n_speakers": "spk_model"}  # and the model that uses it
MIN_BATCH_SIZE = 8  # of pieces; the pipeline's default of 1 is about utterances


class RecordingRecognition:
    """Models that transcribe recordings. Threads may share it."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.recordings.load import RecordingModels, load_transcriber

        if setup.weights is not None:
            raise UsageError("weights cannot be given with vad_model or punc_model", hint="make a model folder of them")
        params = dict(setup.param_dict)
        names = {name: params.pop(name, None) for name in MODELS}
        _refuse_unused(params, names)
        revisions = [params.pop(f"{name}_revision", None) for name in MODELS]
        formats = params.pop("formats", None) or ""
        self._formats = parse_formats(",".join(formats) if isinstance(formats, (list, tuple)) else str(formats))
        if self._formats and setup.output_dir is None:
            raise UsageError("formats need an output_dir", where="formats")
        merging = params.pop("merge_vad", None), params.pop("merge_length_s", None)
        merge_s = chosen_length_s(*merging, has_vad=bool(names["vad_model"]))
        chosen = {name: value for name in OPTIONS if (value := params.pop(name, None)) is not None}
        options = decode_options_of(params, allow_network=setup.allow_network)
        device = setup.device()
        self.folder = setup.open_folder()
        check_mode(setup.mode and re.sub("_vad|_punc", "", setup.mode), self.folder.family)
        vad, punctuation, speaker = (
            open_companion(names[name], name, self.folder) if names[name] else None for name in MODELS
        )
        for folder, revision in zip((vad, punctuation, speaker), revisions, strict=True):
            if folder is not None:
                check_revision(folder.path, revision)
        self._transcriber = load_transcriber(
            RecordingModels(self.folder, vad, punctuation, speaker),
            device=device,
            options=options,
            batch_size=max(setup.batch_size, MIN_BATCH_SIZE),
            merge_s=merge_s,
            **chosen,
        )
        self._sources = setup.sources(self.folder.sample_rate_hz)

    def __call__(
        self,
        audio_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Transcribe.

        Args:
            audio_in, audio_fs, output_dir: as in :class:`funrecipe.pipelines.SpeechRecognition`.
            param_dict: nothing: the models are loaded with the options of the pipeline.

        Returns:
            ``{"key", "text", "timestamp", "sentences"}``: the punctuated text, ``[start, end]`` in ms of every word,
            and a list of ``{"text", "start", "end", "timestamp"}``, with ``spk`` where speakers are found; for a
            list or an scp a list of these, in which audio that cannot be read has an ``error``.

        Raises:
            DataError: a single recording that cannot be read.
            UsageError: an option of a single call.
        """
        from funrecipe.recordings.transcriber import Failure

        if as_params(param_dict):
            hint = "give them to pipeline(...)"
            raise UsageError("the options of recordings are those of the pipeline", where="param_dict", hint=hint)
        call = self._sources.call(audio_in, output_dir)
        blocks = ((key, self._blocks(source, audio_fs)) for key, source in call.sources.items())
        results, good = [], []
        for result in self._transcriber.transcribe(blocks):
            if isinstance(result, Failure):
                results.append(call.failure(result.key, result.error, text=""))
                continue
            if call.output_dir is not None and self._formats:
                write_formats(result, call.output_dir, self._formats)
            good.append(result)
            results.append(_as_result(result))
        return call.answer(results, lambda folder, _: self._write(folder, good))

    def _write(self, folder: Path, transcripts: Sequence[Any]) -> None:
        """``1best_recog/{text,...}``, as ``infer.sh`` has it for recordings."""
        from funrecipe.recordings.join_list import RESULT_FILES, WITH_PUNCTUATION

        files = {**RESULT_FILES, **({} if self._transcriber.punctuator is None else WITH_PUNCTUATION)}
        for name, value in files.items():
            write_text(folder / RESULTS / name, (f"{result.key} {value(result)}\n" for result in transcripts))

    def _blocks(self, source: Any, audio_fs: int | None) -> Iterator[np.ndarray]:
        """A recording in blocks where it is a file, else as a whole."""
        name = source.audio if isinstance(source, Utterance) and source.start_s is None else source
        if not isinstance(name, (str, Path)) or "://" in str(name):
            yield self._sources.read(source, audio_fs)
            return
        settings = self._sources.settings
        allow_pipes = settings.allow_pipes and isinstance(source, Utterance)
        settings = replace(settings, audio_fs=audio_fs, allow_pipes=allow_pipes)
        yield from stream_audio(str(name), sample_rate_hz=self._sources.sample_rate_hz, **vars(settings))


def _refuse_unused(params: Mapping[str, Any], models: Mapping[str, Any]) -> None:
    """Raise a UsageError for an option of a model that is not there."""
    for option, model in {**OPTIONS, **{f"{name}_revision": name for name in MODELS}}.items():
        if params.get(option) is not None and not models[model]:
            raise UsageError(f"{option} has no effect without {model}", where=option, hint="leave it out")


def _as_result(transcript: Any) -> dict[str, Any]:
    sentences = []
    for sentence in transcript.sentences:
        entry = {"text": sentence.text, "start": sentence.start_ms, "end": sentence.end_ms}
        entry["timestamp"] = [[word.start_ms, word.end_ms] for word in sentence.words]
        if sentence.speaker is not None:
            entry["spk"] = sentence.speaker
        sentences.append(entry)
    times = [[word.start_ms, word.end_ms] for word in transcript.words]
    return {"key": transcript.key, "text": transcript.text, "timestamp": times, "sentences": sentences}
