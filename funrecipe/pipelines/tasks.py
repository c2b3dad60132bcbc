"""``pipeline(task, model, ...)``: the names that ModelScope users know, on the objects of this package.

from funrecipe.pipelines import pipeline, Tasks
recognize = pipeline(task=Tasks.auto_speech_recognition, model="damo/speech_paraformer-large_...")
recognize(audio_in="example.wav")          # {"key": "example", "text": ..., "tokens": [...], "score": ...}
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.audio.settings import AudioSettings
from funrecipe.errors import UsageError
from funrecipe.hub import open_model
from funrecipe.model_folder import ModelFolder
from funrecipe.network import network_allowed
from funrecipe.pipelines.audio import AudioSources
from funrecipe.pipelines.calls import as_params, check_revision
from funrecipe.ranges import THREADS


class Tasks:
    """ModelScope's task names; ``pipeline`` runs those of ``PIPELINES``."""

    auto_speech_recognition = "auto-speech-recognition"
    voice_activity_detection = "voice-activity-detection"
    punctuation = "punctuation"
    speech_timestamp = "speech-timestamp"
    language_score_prediction = "language-score-prediction"
    speaker_verification = "speaker-verification"
    speaker_diarization = "speaker-diarization"
    inverse_text_processing = "inverse-text-processing"


@dataclass(frozen=True)
class Setup:
    """The arguments of :func:`pipeline`, which says what they mean; every task is made with one."""

    model: str | Path
    ngpu: int
    ncpu: int
    output_dir: Path | None
    batch_size: int
    param_dict: Mapping[str, Any]
    mode: str | None
    model_revision: str | None
    weights: Path | None
    allow_network: bool
    audio: AudioSettings

    def device(self) -> str:
        """``cuda`` if ``ngpu`` asks for it and it is there, else ``cpu`` with ``ncpu`` threads of torch.

        Raises:
            UsageError: a number that is not one.
        """
        import torch

        from funrecipe.decode.device import find_device

        for name, low in (("ngpu", 0), ("ncpu", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise UsageError(f"{name} is {value!r}", where="pipeline", hint=f"give a whole number from {low}")
        THREADS.check("ncpu", int(self.ncpu), where="pipeline")
        if self.ngpu and torch.cuda.is_available():
            return find_device("cuda")
        torch.set_num_threads(self.ncpu)
        return "cpu"

    def open_folder(self) -> ModelFolder:
        """The model's folder, in the revision that was asked for. Raises UsageError, DataError."""
        folder = open_model(self.model)
        check_revision(folder.path, self.model_revision)
        return folder

    def sources(self, sample_rate_hz: int) -> AudioSources:
        """How audio is read."""
        return AudioSources(sample_rate_hz, self.audio, self.allow_network, self.output_dir)

    def check_mode(self, what: str, *modes: str) -> None:
        """Raise a UsageError unless ``mode``, if it is given, is one of ``modes``; ``what`` names the model."""
        if self.mode not in (None, *modes):
            hint = f"use one of: {', '.join(modes)}" if modes else "leave it out"
            raise UsageError(f"{what} has no mode '{self.mode}'", where="mode", hint=hint)


def pipeline(
    task: str,
    model: str | Path,
    *,
    ngpu: int = 1,
    ncpu: int = 1,
    output_dir: str | Path | None = None,
    batch_size: int = 1,
    param_dict: Mapping[str, Any] | None = None,
    mode: str | None = None,
    model_revision: str | None = None,
    weights: str | Path | None = None,
    allow_network: bool = False,
    allow_pipes: bool = False,
    allow_ffmpeg: bool = False,
    channel: int | str = 1,
    **decode_options: Any,
) -> Any:
    """Load a model.

    Args:
        task: ``Tasks.auto_speech_recognition`` or another one of ``PIPELINES``.
        model: folder, or id of a model that is on disk.
        ngpu: 1 decodes on the GPU if there is one, else on the CPU; 0 on the CPU.
        ncpu: threads of torch on the CPU, for the whole process.
        output_dir: where calls write ``1best_recog/{text,token,score,...}`` and ``failed.scp``.
        batch_size: maximum number of utterances decoded at once.
        param_dict: defaults of what a call's ``param_dict`` may say.
        mode: ModelScope's name of a way to decode; checked against the model.
        model_revision: refused when the model on disk was downloaded as another one.
        weights: a checkpoint in place of the model's own, such as one of a fine-tuning run.
        allow_network: URLs may be fetched (also: ``FUNRECIPE_ALLOW_NETWORK=true``).
        allow_pipes: commands in a ``wav.scp`` may run.
        allow_ffmpeg: an installed ffmpeg reads what libsndfile does not (m4a, aac, amr, wma, webm, ...).
        channel: the channel of a recording to take, from 1 on, or ``mix``: the mean of all.
        decode_options: what the task has: fields of ``DecodeOptions`` (``beam_size``, ``hotword``, ...), of
            ``VadOptions``, ...; for recordings of any length ``vad_model``, ``punc_model``, ``spk_model`` (folders,
            ids, or ``auto``: as ``configuration.json`` says), their ``vad_model_revision`` ..., ``text_rules``,
            ``formats`` (docs/long_audio.md).

    Returns:
        an object to call: :class:`SpeechRecognition`, or that of the task.

    Raises:
        UsageError: a task, mode or option that this model does not have.
        DataError, UnsafeFileError: a model that cannot be read.
    """
    if task not in PIPELINES:
        raise UsageError(f"the task '{task}' is not supported", hint=f"use one of: {', '.join(PIPELINES)}")
    allowed = {"allow_network": allow_network, "allow_pipes": allow_pipes, "allow_ffmpeg": allow_ffmpeg}
    for option, value in allowed.items():
        if value not in (True, False):  # the text "false" would be true
            raise UsageError(f"{option} is {value!r}", where="pipeline", hint="give True or False")
    given = {**decode_options, **as_params(param_dict)}
    params = {key: value for key, value in given.items() if key not in CHAIN_MODELS or value != ""}  # "": none
    is_chain = task == Tasks.auto_speech_recognition and any(params.get(name) for name in CHAIN_MODELS)
    module, _, name = (CHAIN if is_chain else PIPELINES[task]).partition(":")
    setup = Setup(
        model=model, ngpu=ngpu, ncpu=ncpu, output_dir=Path(output_dir) if output_dir else None,
        batch_size=batch_size, param_dict=params, mode=mode,
        model_revision=model_revision, weights=None if weights is None else Path(weights),
        allow_network=network_allowed(allow_network),
        audio=AudioSettings(channel=channel, allow_pipes=allow_pipes, allow_ffmpeg=allow_ffmpeg),
    )  # fmt: skip
    return getattr(importlib.import_module(f"funrecipe.pipelines.{module}"), name)(setup)


# Task -> "module:class"; all classes are made with a Setup.
PIPELINES = {
    Tasks.auto_speech_recognition: "recognition:SpeechRecognition",
    Tasks.voice_activity_detection: "vad:VoiceActivityDetection",
    Tasks.punctuation: "punctuation:Punctuation",
    Tasks.speech_timestamp: "timestamp:SpeechTimestamp",
    Tasks.speaker_verification: "speaker:SpeakerVerification",
    Tasks.speaker_diarization: "diarization:SpeakerDiarization",
}
# Recognition of recordings, where one of these models is named.
CHAIN_MODELS = ("vad_model", "punc_model", "spk_model")
CHAIN = "recordings:RecordingRecognition"
