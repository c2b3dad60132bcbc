"""Streaming recognition: samples in any pieces -> fixed steps of frames -> text as it grows.

The loop is the same for all model families. It buffers samples in the front-end, frames in ``StreamState``, and calls
``StreamingModel.step`` with exactly ``step_frames`` frames, whatever pieces the caller feeds. The caller owns the
state: a plain dict, empty at the start of a stream and empty again after its final call (ModelScope's
``param_dict={"cache": cache, "is_final": ..., "chunk_size": [5, 10, 5]}``).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.online import FrontendState, OnlineFrontend
from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.decode.options import DecodeOptions, check_supported
from funrecipe.decode.recognizer import check_precision, load_model, with_defaults
from funrecipe.decode.tiled_model import refuse_tiles_in
from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import find_family, load_part, names_with
from funrecipe.model_folder import ModelFolder
from funrecipe.models.side_by_side import side_by_side
from funrecipe.text.postprocess import SPECIAL, postprocess
from funrecipe.text.tokenizer import Tokenizer
from funrecipe.text.units import SPACE, WORD_MARK

_STATE_KEY = "funrecipe.stream"
_CALL_KEYS = ("cache", "is_final")
# decoding.yaml is for files and streams: these have no effect on the greedy or single result of a stream
OPTIONS_OF_FILES = frozenset({"beam_size", "nbest", "decoding_mode", "decoding_ind"})


@dataclass(frozen=True)
class StreamOptions:
    """The settings of a stream, given when it starts; None means the family's default, or unchanged in later calls.

    Attributes:
        chunk_size: (left, chunk, right) frames of one encoder window.
        encoder_chunk_look_back: chunks that encoder attention looks back through cached keys; -1: all.
        decoder_chunk_look_back: the same for the decoder's attention over encoder frames.
    """

    chunk_size: tuple[int, int, int] | None = None
    encoder_chunk_look_back: int | None = None
    decoder_chunk_look_back: int | None = None

    @classmethod
    def from_param_dict(cls, param_dict: Mapping[str, Any]) -> StreamOptions:
        """Options of ModelScope's ``param_dict`` (``cache`` and ``is_final`` belong to the call, not to the stream).

        Raises:
            UsageError: an unknown key, or a value of the wrong kind.
        """
        known = [f.name for f in fields(cls)]
        for key in param_dict:
            if key not in known and key not in _CALL_KEYS:
                raise unknown_name("unexpected keyword argument", key, (*_CALL_KEYS, *known), where="param_dict")
        chunk_size = param_dict.get("chunk_size")
        if chunk_size is not None:
            chunk_size = tuple(chunk_size) if isinstance(chunk_size, (Sequence, np.ndarray)) else (chunk_size,)
            if len(chunk_size) != 3 or not all(_is_int(n) and n >= 0 for n in chunk_size) or chunk_size[1] < 1:
                raise UsageError(
                    f"chunk_size is {param_dict['chunk_size']!r}, not [left, chunk, right] in frames",
                    where="param_dict",
                    hint="give [5, 10, 5], for example, for steps of 600 ms",
                )
        look_backs = {}
        for key in known[1:]:
            value = look_backs[key] = param_dict.get(key)
            if value is not None and (not _is_int(value) or value < -1):
                raise UsageError(f"{key} is {value!r}, not a number of chunks or -1", where="param_dict")
        return cls(chunk_size, **look_backs)

    def changed_by(self, later: StreamOptions) -> str | None:
        """The name of the first option that a later call of the same stream changes."""
        return next((f.name for f in fields(self) if getattr(later, f.name) not in (None, getattr(self, f.name))), None)


class StreamingModel(Protocol):
    """One family's encoder, search and caches, driven by ``StreamingRecognizer``.

    The loop calls ``step`` for every full step and, when the stream ends, ``finish`` once, so the calls depend on the
    audio alone and not on the pieces in which it came.
    """

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None: ...

    def start(self, options: StreamOptions) -> Any:
        """The caches of a new stream."""

    def step_frames(self, state: Any) -> int:
        """How many new feature frames one step takes."""

    def step(self, feats: torch.Tensor, state: Any) -> tuple[list[int], float]:
        """Consume ``feats`` (1, step_frames, D); the new token ids (blank and eos removed) and their score."""

    def step_many(self, steps: Sequence[tuple[torch.Tensor, Any]]) -> list[tuple[list[int], float]]:
        """:meth:`step` of several streams; absent from families that cannot compute them together."""

    def finish(self, feats: torch.Tensor, state: Any, frames_left: float) -> tuple[list[int], float]:
        """The end: flush with the frames that are left, (1, T, D), ``0 <= T < step_frames``.

        ``frames_left`` is the audio past the last full step in units of a frame, whole or not (0 or less: none).
        Not called for a stream that had no frame at all.
        """


@dataclass
class StreamState:
    """The state of a stream between two calls."""

    recognizer_id: str
    options: StreamOptions
    frontend: FrontendState
    model: Any
    pending: torch.Tensor | None = None  # frames that do not fill a step yet, (1, T, D)
    token_ids: list[int] = field(default_factory=list)
    score: float = 0.0
    n_steps: int = 0
    n_samples: int = 0


@dataclass(frozen=True)
class StreamUpdate:
    """What one call added. The ``text`` of all calls, concatenated, is the text of the stream.

    ``total``, of the final call only, is the hypothesis of the whole stream, post-processed like an offline one.
    """

    tokens: list[str]
    text: str
    score: float
    total: Hypothesis | None = None


class StreamingRecognizer:
    """Recognizes many streams with one model; each stream lives in its caller's dict only.

    Args:
        model: the family's steps.
        frontend: online features.
        tokenizer: the vocabulary.
        sample_rate_hz: of the samples fed.
        unpadded: compute the steps of several streams as if each were alone (``models.side_by_side``); by default, they
            are a batch where the family can compute one.
    """

    def __init__(
        self,
        model: StreamingModel,
        frontend: OnlineFrontend,
        tokenizer: Tokenizer,
        sample_rate_hz: int,
        *,
        unpadded: bool = False,
    ) -> None:
        self._model, self._frontend, self._tokenizer = model, frontend, tokenizer
        self.sample_rate_hz = sample_rate_hz
        self._unpadded, self._batches = unpadded, hasattr(model, "step_many")
        self._id = uuid.uuid4().hex  # a cache must not be passed to another model

    @torch.inference_mode()
    def feed(
        self, samples: np.ndarray, cache: MutableMapping[str, Any], is_final: bool, options: StreamOptions | None = None
    ) -> StreamUpdate:
        """Recognize the next piece of a stream.

        Args:
            samples: float32 (S,) in [-1, 1]; any length, also none.
            cache: the stream; empty for a new one, emptied after the final call.
            is_final: no more audio will follow; flush everything.
            options: how the stream steps; read when the stream begins.

        Raises:
            UsageError: the cache is of another kind, or an option changed in the middle of the stream.
        """
        return self.feed_many([(samples, cache, is_final)], options)[0]

    @torch.inference_mode()
    def feed_many(
        self,
        pieces: Sequence[tuple[np.ndarray, MutableMapping[str, Any], bool]],
        options: StreamOptions | None = None,
    ) -> list[StreamUpdate]:
        """As :meth:`feed` for a piece of each of several streams, whose encoders are then computed together.

        Tokens are those that each stream gets by itself, and scores too: up to rounding in fp32, to the last bit in
        any other precision, where rounding could change tokens.

        Args:
            pieces: (samples, cache, is_final) of each stream.
        """
        states = [
            self._take(samples, cache, is_final, options or StreamOptions()) for samples, cache, is_final in pieces
        ]
        found = self._run_steps(states, [is_final for _, _, is_final in pieces])
        return [
            self._update(state, new, cache, is_final)
            for state, new, (_, cache, is_final) in zip(states, found, pieces, strict=True)
        ]

    def _take(
        self, samples: np.ndarray, cache: MutableMapping[str, Any], is_final: bool, options: StreamOptions
    ) -> StreamState:
        """The state of a stream with the frames of new samples."""
        state = self._state(cache, options)
        feats = self._frontend.feed(
            torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), state.frontend, is_final
        )[None]
        state.n_samples += len(samples)
        state.pending = feats if state.pending is None else torch.cat((state.pending, feats), dim=1)
        return state

    def _update(
        self, state: StreamState, new: tuple[list[int], float], cache: MutableMapping[str, Any], is_final: bool
    ) -> StreamUpdate:
        new_ids, score = new
        state.token_ids += new_ids
        state.score += score
        tokens, spells_spaces = self._tokenizer.tokens_of(new_ids), self._tokenizer.spells_spaces
        text, total = streaming_text(tokens, spells_spaces), None
        if is_final:
            cache.clear()
            all_tokens = self._tokenizer.tokens_of(state.token_ids)
            words = postprocess(all_tokens, spells_spaces=spells_spaces or None).words
            total = Hypothesis(all_tokens, " ".join(words), state.score)
        return StreamUpdate(tokens, text, score, total)

    def _state(self, cache: MutableMapping[str, Any], options: StreamOptions) -> StreamState:
        if not cache:
            cache[_STATE_KEY] = StreamState(self._id, options, self._frontend.start(), self._model.start(options))
        state = cache.get(_STATE_KEY)
        if not isinstance(state, StreamState) or state.recognizer_id != self._id:
            raise UsageError(
                "the cache does not belong to a stream of this pipeline with these options",
                where="param_dict['cache']",
                hint="start with an empty dict, and keep the same search options",
            )
        if changed := state.options.changed_by(options):
            raise UsageError(
                f"{changed} changed in the middle of a stream",
                where="param_dict",
                hint="finish the stream with is_final=True, or use another cache",
            )
        return state

    def _run_steps(self, states: Sequence[StreamState], finals: Sequence[bool]) -> list[tuple[list[int], float]]:
        """Run every step whose frames have arrived; a final call leaves none. New tokens and score of each stream."""
        found: list[tuple[list[int], float]] = [([], 0.0) for _ in states]

        def add(number: int, step: tuple[list[int], float]) -> None:
            found[number] = found[number][0] + step[0], found[number][1] + step[1]

        widths = [self._model.step_frames(state.model) for state in states]
        while ready := [n for n, state in enumerate(states) if state.pending.size(1) >= widths[n]]:
            for number, step in zip(ready, self._steps([(states[n], widths[n]) for n in ready]), strict=True):
                add(number, step)
                states[number].pending = states[number].pending[:, widths[number] :]
                states[number].n_steps += 1
        for number, (state, is_final) in enumerate(zip(states, finals, strict=True)):
            if is_final and (state.n_steps or state.pending.size(1)):
                frames_left = state.n_samples / self._frontend.samples_per_frame - state.n_steps * widths[number]
                add(number, self._model.finish(state.pending, state.model, frames_left))
        return found

    def _steps(self, ready: Sequence[tuple[StreamState, int]]) -> list[tuple[list[int], float]]:
        """One step of each stream, which takes so many frames."""
        steps = [(state.pending[:, :width], state.model) for state, width in ready]
        if len(steps) > 1 and self._unpadded:
            return side_by_side([partial(self._model.step, feats, model) for feats, model in steps])
        if len(steps) > 1 and self._batches:
            return self._model.step_many(steps)
        return [self._model.step(feats, model) for feats, model in steps]


def load_streaming_recognizer(
    folder: ModelFolder,
    *,
    device: torch.device | str = "cpu",
    options: DecodeOptions | None = None,
    weights: Path | None = None,
) -> StreamingRecognizer:
    """Everything needed to recognize streams with a model folder; arguments as for ``load_recognizer``.

    In ``fp16``, ``bf16`` and ``int8`` (``options.precision``) a stream costs less and is still the same in pieces of
    any size, since its steps are.

    Raises:
        UsageError: the model cannot be used on a stream.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    check_streams(folder)
    model = load_model(folder, device=device, weights=weights, precision=options.precision if options else None)
    return make_streaming_recognizer(model, folder, device=device, options=options)


def make_streaming_recognizer(
    model: nn.Module, folder: ModelFolder, *, device: torch.device | str = "cpu", options: DecodeOptions | None = None
) -> StreamingRecognizer:
    """A streaming recognizer around a model that is loaded already; a recognizer of whole files may share it.

    Args:
        options: override the folder's ``decoding.yaml``, which may also hold options for whole files.

    Raises:
        UsageError: the model cannot be used on a stream, or an option has no effect there.
    """
    steps: type[StreamingModel] = load_part(check_streams(folder), "decode")
    of_folder = replace(with_defaults(None, folder), **dict.fromkeys(OPTIONS_OF_FILES))
    check_supported(of_folder, folder.family, streaming=True)
    if options:
        check_supported(options, folder.family, streaming=True)
    options = with_defaults(options, folder)
    precision = check_precision(model, options)
    refuse_tiles_in(precision, model, "a stream is")
    frontend = WavFrontend.from_config(folder.config.get("frontend_conf") or {}, folder.cmvn).eval().to(device)
    return StreamingRecognizer(
        steps(model, folder, options),
        OnlineFrontend(frontend),
        folder.tokenizer,
        folder.sample_rate_hz,
        unpadded=precision != "fp32",
    )


def check_streams(folder: ModelFolder) -> str:
    """The entry of the family's streaming class. Raises UsageError if it recognizes whole utterances only."""
    family = find_family(folder.family)
    entry = family.export_stream if folder.is_exported else family.stream
    if entry is None:
        raise UsageError(
            f"a model of family '{folder.family}' recognizes whole utterances, not streams",
            where=str(folder.path),
            hint=f"leave out cache and is_final, or use a model of one of: {', '.join(names_with('stream'))}",
        )
    return entry


def streaming_text(tokens: list[str], spells_spaces: bool = False) -> str:
    """The text of some tokens of a stream: ``@@`` joins pieces, a Latin word is followed by a space.

    A token's text does not depend on its neighbors, so texts of consecutive calls can be concatenated
    (FunASR: Speech2TextParaformerOnline). Where the vocabulary spells spaces, these are used.
    """
    tokens = [token for token in tokens if token not in SPECIAL]
    if spells_spaces:
        return "".join(tokens).replace(SPACE, " ").replace(WORD_MARK, " ")
    return "".join(t[:-2] if t.endswith("@@") else t + " " if t.isascii() and t.isalpha() else t for t in tokens)


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
