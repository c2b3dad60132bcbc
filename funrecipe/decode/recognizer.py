"""Waveforms in, hypotheses out: front-end, model, search and text of one model folder."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.padded import PaddedWaves
from funrecipe.checkpoint import load_network
from funrecipe.decode.fixed_shapes import FixedShapes, Tile
from funrecipe.decode.hypothesis import EMPTY, Hypothesis, TokenHypothesis
from funrecipe.decode.onnx import load_onnx
from funrecipe.decode.options import DEFAULT_MAX_PIECE_S, DecodeOptions, check_weights
from funrecipe.decode.search import Search, make_search
from funrecipe.decode.tiled_model import TILE_FRAMES, compute_in_tiles, features_in_tiles
from funrecipe.errors import UsageError
from funrecipe.families import find_family
from funrecipe.model_folder import ModelFolder
from funrecipe.models.onnx import OnnxModel
from funrecipe.models.packed import pack_linears
from funrecipe.models.side_by_side import is_large, meet, side_by_side
from funrecipe.text.postprocess import postprocess
from funrecipe.text.tokenizer import Tokenizer

__all__ = ["Hypothesis", "Recognizer", "TokenHypothesis", "load_model", "load_recognizer", "make_recognizer"]

log = logging.getLogger(__name__)


class Recognizer:
    """Recognizes batches of waveforms. Keeps no state between calls, so threads may share it.

    Args:
        frontend: waveforms (B, S) and lengths (B,) to features and lengths; search: of one family; tokenizer: its
            vocabulary.
        sample_rate_hz: of the waveforms.
        device: where to compute.
        nbest: if above 1, hypotheses carry the others.
        max_piece_s: audio longer than this is cut by ``funrecipe.recordings.joining`` before it gets here.
        unpadded: compute every utterance of a batch as if it were alone (``models.side_by_side``).

    Attributes:
        tile_of: on a GPU, by samples of a waveform: its padded shape, and how many of that shape are computed at once.
        tile_samples: samples that are computed at once; 0: as many as a batch has.
    """

    tile_of: Callable[[int], tuple[tuple[int, ...], int]] | None = None
    tile_samples = 0

    def __init__(
        self,
        frontend: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        search: Search,
        tokenizer: Tokenizer,
        sample_rate_hz: int,
        device: torch.device,
        *,
        nbest: int = 1,
        max_piece_s: float = math.inf,
        unpadded: bool = False,
    ) -> None:
        self.frontend, self.search, self.tokenizer = frontend, search, tokenizer
        self.sample_rate_hz, self.device, self.unpadded = sample_rate_hz, device, unpadded
        self.nbest, self.max_piece_s = nbest, max_piece_s
        self._tile_lock: AbstractContextManager[Any] = contextlib.nullcontext()
        if isinstance(frontend, FixedShapes):
            self.tile_of = frontend.tile_of
            self.tile_samples = frontend.tile.frames * frontend.unit
            self._tile_lock = frontend.tile.lock

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """The best hypothesis of every waveform, float (S,) in [-1, 1] at ``sample_rate_hz``.

        The result does not depend on what else is in the batch; a waveform shorter than a feature window
        gets an empty hypothesis.
        """
        nbests = self.transcribe_nbest(waveforms)
        return [nbest[0] if self.nbest == 1 else replace(nbest[0], nbest=nbest) for nbest in nbests]

    @torch.inference_mode()
    def transcribe_nbest(self, waveforms: Sequence[np.ndarray]) -> list[list[Hypothesis]]:
        """Like :meth:`transcribe`, with all hypotheses that the search returns, best first."""
        if self.unpadded and len(waveforms) > 1:
            return side_by_side([partial(self._alone_nbest, waveform) for waveform in waveforms])
        results = [[EMPTY] for _ in waveforms]
        if not waveforms:
            return results
        for row, nbest in self._search(waveforms):
            results[row] = [self.to_hypothesis(hypothesis) for hypothesis in nbest] or [EMPTY]
        return results

    def _alone_nbest(self, waveform: np.ndarray) -> list[Hypothesis]:
        return self.transcribe_nbest([waveform])[0]

    def _search(self, waveforms: Sequence[np.ndarray]) -> list[tuple[int, list[TokenHypothesis]]]:
        """The rows with features, and the hypotheses of each."""
        if isinstance(waveforms, PaddedWaves):
            padded = torch.from_numpy(waveforms.matrix)
        else:
            samples = [torch.from_numpy(np.array(waveform, dtype=np.float32)) for waveform in waveforms]
            padded = pad_sequence(samples, batch_first=True)
        with self._tile_lock:
            wave_lens = torch.tensor([len(wave) for wave in waveforms]).to(self.device)
            feats, feat_lens = self.frontend(padded.to(self.device, non_blocking=True), wave_lens)
            rows = feat_lens.nonzero().flatten()
            if len(rows) == 0:
                return []
            if len(rows) < len(waveforms):
                feats, feat_lens = feats[rows], feat_lens[rows]
            return list(zip(rows.tolist(), self.search.decode(feats, feat_lens), strict=True))

    def to_hypothesis(self, hypothesis: TokenHypothesis) -> Hypothesis:
        """Token ids to tokens and post-processed text."""
        tokens = self.tokenizer.tokens_of(hypothesis.ids)
        if hypothesis.rich is not None:
            fields = hypothesis.rich.as_fields()
            return Hypothesis(tokens, hypothesis.rich.text, hypothesis.score, hypothesis.timestamp_ms, rich=fields)
        text, is_estimated = self.text_of(tokens), hypothesis.is_estimated
        return Hypothesis(tokens, text, hypothesis.score, hypothesis.timestamp_ms, is_estimated=is_estimated)

    def release_memory(self) -> None:
        """Release memory that graphs and torch still hold after a call that ran out of memory."""
        if isinstance(self.frontend, FixedShapes):
            self.frontend.tile.release_memory()
        elif self.device.type == "cuda":
            torch.cuda.empty_cache()

    def pin(self, memory: np.ndarray) -> Callable[[], None]:
        """Pin ``memory`` so that the GPU can copy from it directly; if that fails, copies are slower.

        Returns what ends that: pinned memory that is freed would still be read where it was, whatever lies there later.
        """
        cudart, address = torch.cuda.cudart(), memory.ctypes.data
        status = int(cudart.cudaHostRegister(address, memory.nbytes, 0))
        if status != 0:
            with contextlib.suppress(RuntimeError):  # the next kernel, whichever it is, is told of the error
                torch.zeros(1, device=self.device)
            log.warning("cannot pin the memory for audio (CUDA error %d): copies to the GPU are slower", status)
            return lambda: None

        def unpin() -> None:
            with contextlib.suppress(RuntimeError):  # of an earlier error, which has been reported
                torch.cuda.synchronize()
            cudart.cudaHostUnregister(address)

        return unpin

    def text_of(self, tokens: Sequence[str]) -> str:
        """Post-processed words of some tokens, joined by a space."""
        return " ".join(postprocess(tokens, spells_spaces=self.tokenizer.spells_spaces or None).words)


def load_model(
    folder: ModelFolder,
    *,
    device: torch.device | str,
    weights: Path | None = None,
    precision: str | None = None,
    tile: Tile | None = None,
) -> nn.Module:
    """The model of a folder with its weights (or those of ``weights``), for inference only.

    Args:
        precision: as in ``DecodeOptions``; None: as ``decoding.yaml`` says, else fp32.
        tile: compute as on a GPU, this much at once; by default so on a GPU only.

    Raises:
        UsageError: an unsupported family or setting.
        DataError, UnsafeFileError: weights that do not fit or are not safe.
    """
    device = torch.device(device)
    precision = precision or with_defaults(None, folder).precision or "fp32"
    if precision == "auto":
        hint = "choose one: fp32, bf16, ..."
        raise UsageError("precision auto needs the utterances of a run to decide on", where="precision", hint=hint)
    check_weights(folder, weights)
    if folder.is_exported:
        return load_onnx(folder, precision)
    model = load_network(folder.config, len(folder.tokens), weights or folder.weights, device)
    if tile is None and device.type == "cuda":
        tile = Tile(TILE_FRAMES)
    if tile is None:
        model = meet(pack_linears(model, precision, few_rows=find_family(folder.family).stream is not None))
    else:
        model = compute_in_tiles(model, find_family(folder.family).tiled, tile, precision, device)
    model.precision = precision  # type: ignore[assignment]  # torch: a tensor or a module
    return model


def load_recognizer(
    folder: ModelFolder,
    *,
    device: torch.device | str = "cpu",
    options: DecodeOptions | None = None,
    weights: Path | None = None,
    tile: Tile | None = None,
) -> Recognizer:
    """Everything needed to decode with a model folder.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        options: override the folder's ``decoding.yaml``.
        weights: a checkpoint in place of the folder's.
        tile: as in :func:`load_model`.

    Raises:
        UsageError: an option that the family does not use, or an unsupported model.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    options = with_defaults(options, folder)
    model = load_model(folder, device=device, weights=weights, precision=options.precision, tile=tile)
    return make_recognizer(model, folder, device=device, options=options)


def make_recognizer(
    model: nn.Module, folder: ModelFolder, *, device: torch.device | str = "cpu", options: DecodeOptions | None = None
) -> Recognizer:
    """A recognizer around a model that is loaded already; recognizers with other options may share it.

    Raises:
        UsageError: as :func:`load_recognizer`, or another precision than the model was loaded in.
    """
    options, device = with_defaults(options, folder), torch.device(device)
    precision = check_precision(model, options)
    device = torch.device("cpu") if isinstance(model, OnnxModel) else device
    search = make_search(model, folder, options)
    frontend = WavFrontend.from_config(folder.config.get("frontend_conf") or {}, folder.cmvn).eval().to(device)
    tokenizer = folder.tokenizer
    tile = getattr(model, "tile", None)
    return Recognizer(
        features_in_tiles(frontend, tile) if tile else frontend,
        search,
        tokenizer,
        folder.sample_rate_hz,
        device,
        nbest=options.nbest or 1,
        max_piece_s=(DEFAULT_MAX_PIECE_S if options.max_piece_s is None else options.max_piece_s) or math.inf,
        unpadded=tile is None and (precision != "fp32" or is_large(model)),
    )


def check_precision(model: nn.Module, options: DecodeOptions) -> str:
    """The precision in which ``model`` was loaded; raises UsageError if the options ask for another."""
    precision = getattr(model, "precision", "fp32")
    if options.precision not in (None, precision):
        raise UsageError(
            f"the model is loaded in {precision}, not in {options.precision}",
            where="precision",
            hint="choose it when the model is loaded: --precision, or decoding.yaml",
        )
    return precision


def with_defaults(options: DecodeOptions | None, folder: ModelFolder) -> DecodeOptions:
    """``options`` over those of the folder's ``decoding.yaml``."""
    defaults = DecodeOptions.from_mapping(folder.decoding, where=f"{folder.path}/decoding.yaml")
    return options.over(defaults) if options else defaults
