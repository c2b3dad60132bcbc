"""Waveforms in, segments out: front-end, network and segmenter of one model folder, on files and on streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.online import FrontendState, OnlineFrontend
from funrecipe.checkpoint import load_network
from funrecipe.errors import UsageError
from funrecipe.families import VAD
from funrecipe.model_folder import ModelFolder
from funrecipe.models.fsmn_vad import FsmnVad
from funrecipe.models.onnx import OnnxModel
from funrecipe.vad.options import VadOptions
from funrecipe.vad.segmenter import Segmenter, sounds_like_speech

OPEN = -1  # in an event: this boundary is not known yet, or was reported before
PIECE_S = 60.0  # a recording is taken in pieces of this length, so that memory does not grow with it
MIN_DECIBEL = -99.9  # below: no noise was heard so far


@dataclass
class VadState:
    """What a stream needs of its past. Make it with :meth:`VoiceActivityDetector.start`.

    Attributes:
        frontend: samples and log-mel frames of the front-end.
        memory: one tensor (1, lorder - 1, proj_dim) per block of the network.
        segmenter: the open segment and the frames before it.
        samples: (S,) from the start of the next frame whose loudness is not measured yet.
        decibels: loudness of the frames that the network has not seen yet.
        noise_decibel: average of the frames that were not speech.
        start_ms: start of the open segment.
    """

    frontend: FrontendState
    memory: list[Tensor]
    segmenter: Segmenter
    samples: np.ndarray
    decibels: np.ndarray
    noise_decibel: float = -100.0
    start_ms: int = OPEN


class OnnxVad:
    """What a ``VoiceActivityDetector`` calls of an ``FsmnVad``; memories have the graph's form."""

    def __init__(self, path: Path) -> None:
        self.model = OnnxModel(path)

    def start(self) -> list[Tensor]:
        """The memory before the first frame: (1, P, L, 1) zeros per block."""
        return [torch.zeros(1, *shape[1:]) for shape in self.model.input_shapes[1:]]

    def __call__(self, feats: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """``feats`` (1, T, F) -> posteriors (1, T, C), and the memory for the frames that follow."""
        posteriors, *after = self.model(feats, *memory)
        return posteriors, after


class VoiceActivityDetector:
    """Finds speech in recordings and streams. Keeps no state between calls, so threads may share it.

    Args:
        frontend: features; network: their posteriors; options: how segments are made of these.
        classes: of the posteriors.
        sample_rate_hz: of the waveforms.
        device: where to compute.

    Raises:
        UsageError: the options and the front-end or the network do not fit each other.
    """

    def __init__(
        self,
        frontend: WavFrontend,
        network: FsmnVad | OnnxVad,
        options: VadOptions,
        classes: int,
        sample_rate_hz: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.options = network, options
        self.sample_rate_hz, self.device = sample_rate_hz, torch.device(device)
        self.frontend = OnlineFrontend(frontend)
        self._classes, self._window_ms = classes, 1000 * frontend.fbank.window_samples / sample_rate_hz
        self._check(options)

    def _check(self, options: VadOptions) -> None:
        """Raise a UsageError for options that do not fit the front-end or the network."""
        shift_ms = 1000 * self.frontend.samples_per_frame / self.sample_rate_hz
        if shift_ms != options.frame_in_ms:
            hint = f"give {shift_ms:g}, the frame shift of the front-end in ms"
            raise UsageError(f"frame_in_ms is {options.frame_in_ms}", where="vad_post_conf", hint=hint)
        if options.frame_length_ms > self._window_ms:
            hint = f"give {self._window_ms:g}, the window of the front-end in ms"
            raise UsageError(f"frame_length_ms is {options.frame_length_ms}", where="vad_post_conf", hint=hint)
        if max(options.sil_pdf_ids) >= self._classes:
            hint = f"give classes from 0 to {self._classes - 1}"
            raise UsageError(f"sil_pdf_ids is {list(options.sil_pdf_ids)}", where="vad_post_conf", hint=hint)

    def segments(self, waveform: np.ndarray, options: VadOptions | None = None) -> list[list[int]]:
        """``[start, end]`` in ms of every segment of ``waveform`` (S,), float in [-1, 1]; none if it is too short."""
        samples = round(PIECE_S * self.sample_rate_hz)
        pieces = (waveform[start : start + samples] for start in range(0, len(waveform), samples))
        return self.segments_of_stream(pieces, options)

    def segments_of_stream(self, pieces: Iterable[np.ndarray], options: VadOptions | None = None) -> list[list[int]]:
        """As :meth:`segments`, of a recording that comes in pieces of any size."""
        state = self.start(options)
        events = [event for piece in pieces for event in self.feed(piece, state)]
        return join_events([*events, *self.feed(np.zeros(0, np.float32), state, is_final=True)])

    def start(self, options: VadOptions | None = None) -> VadState:
        """The state of a new stream. Raises UsageError for options that do not fit the model."""
        if options is not None:
            self._check(options)
        nothing = np.zeros(0, np.float32)
        segmenter = Segmenter(options or self.options)
        return VadState(self.frontend.start(), self.network.start(), segmenter, nothing, np.zeros(0))

    @torch.inference_mode()
    def feed(self, samples: np.ndarray, state: VadState, *, is_final: bool = False) -> list[list[int]]:
        """What the next ``samples`` (S,) decide: ``[start, -1]``, ``[-1, end]`` or, if both, ``[start, end]``, in ms.

        How a recording is cut into pieces makes no difference to its segments.

        Args:
            is_final: the recording ends here; an open segment is closed.
        """
        waveform = np.asarray(samples, dtype=np.float32)
        self._measure(waveform, state)
        feats = self.frontend.feed(torch.from_numpy(waveform.copy()).to(self.device), state.frontend, is_final)
        boundaries = []
        if len(feats):
            posteriors, state.memory = self.network(feats[None], state.memory)
            decisions = self._is_speech(posteriors[0].cpu().numpy(), state)
            boundaries = [state.segmenter.push(decision) for decision in decisions]
        if is_final:
            boundaries.append(state.segmenter.finish())
        events: list[list[int]] = []
        for boundary in boundaries:
            if boundary is None:
                continue
            if boundary.is_start:
                events.append([boundary.time_ms, OPEN])
            elif events and events[-1][1] == OPEN:
                events[-1][1] = boundary.time_ms
            else:
                events.append([OPEN, boundary.time_ms])
        return events

    def _measure(self, waveform: np.ndarray, state: VadState) -> None:
        """Loudness of all frames that are complete now, in dB."""
        options = state.segmenter.options
        length = options.frame_length_ms * self.sample_rate_hz // 1000
        shift = options.frame_in_ms * self.sample_rate_hz // 1000
        state.samples = np.concatenate((state.samples, waveform))
        if len(state.samples) < length:
            return
        frames = np.lib.stride_tricks.sliding_window_view(state.samples, length)[::shift]
        energies = np.square(frames, dtype=np.float32).sum(axis=1, dtype=np.float32)
        state.decibels = np.concatenate((state.decibels, 10 * np.log10(energies.astype(np.float64) + 1e-6)))
        state.samples = state.samples[len(frames) * shift :]

    def _is_speech(self, posteriors: np.ndarray, state: VadState) -> list[bool]:
        """``posteriors`` (T, P) -> a decision per frame, which depends on the noise heard so far."""
        options = state.segmenter.options
        sounds = sounds_like_speech(posteriors, options)
        decibels, state.decibels = state.decibels[: len(sounds)], state.decibels[len(sounds) :]
        decisions = []
        for sound, decibel in zip(sounds.tolist(), decibels.tolist(), strict=True):
            is_loud = decibel >= options.decibel_thres
            decisions.append(sound and is_loud and decibel - state.noise_decibel >= options.snr_thres)
            if is_loud and not sound:
                known, count = state.noise_decibel, options.noise_frame_num_used_for_snr
                state.noise_decibel = decibel if known < MIN_DECIBEL else (decibel + known * (count - 1)) / count
        return decisions


def join_events(events: Iterable[list[int]]) -> list[list[int]]:
    """Events of a whole stream -> ``[start, end]`` of its segments."""
    segments: list[list[int]] = []
    for start_ms, end_ms in events:
        if start_ms != OPEN:
            segments.append([start_ms, end_ms])
        else:
            segments[-1][1] = end_ms
    return segments


def load_detector(
    folder: ModelFolder,
    *,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
    weights: Path | None = None,
) -> VoiceActivityDetector:
    """Everything needed to detect speech with a model folder.

    Args:
        options: ``VadOptions`` by name, over the folder's ``vad_post_conf``.
        weights: a checkpoint in place of the folder's.

    Raises:
        UsageError: not a VAD model, or an option that is not known.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    if folder.row.task != VAD:
        raise UsageError(
            f"a model of family '{folder.family}' does not detect voice activity",
            where=str(folder.path),
            hint="give a VAD model, such as damo/speech_fsmn_vad_zh-cn-16k-common-pytorch",
        )
    chosen = VadOptions.of(folder).over(options or {})
    weights = weights or folder.weights
    network: Any  # FsmnVad or OnnxVad
    if weights.suffix == ".onnx":
        network, device = OnnxVad(weights), "cpu"
    else:
        network = load_network(folder.config, 0, weights, device)
    classes = int((folder.config.get("encoder_conf") or {})["output_dim"])
    frontend = WavFrontend.from_config(folder.config.get("frontend_conf") or {}, folder.cmvn).eval().to(device)
    return VoiceActivityDetector(frontend, network, chosen, classes, folder.sample_rate_hz, device)
