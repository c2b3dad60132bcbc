"""Paraformer-online as exported: the encoder's and the decoder's graph, and the steps between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.onnx import OnnxSearch
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.paraformer_online import ParaformerOnlineSteps
from funrecipe.decode.streaming import StreamOptions
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.layers import sinusoidal_positions
from funrecipe.models.onnx import OnnxModel
from funrecipe.models.paraformer_online import StreamCache, StreamCif

DECODER_GRAPH = "decoder.onnx"  # FunASR's name; in int8 decoder_quant.onnx


class OnnxParaformerOnline:
    """What :class:`ParaformerOnlineSteps` calls of a ``ParaformerOnline``."""

    def __init__(self, encoder: OnnxModel, folder: ModelFolder) -> None:
        self.encoder = encoder
        self.decoder = OnnxModel(encoder.path.with_name(encoder.path.name.replace("model", "decoder")))
        config = folder.config
        predictor = config.get("predictor_conf") or {}
        self.stream_cif = StreamCif(float(predictor.get("threshold", 1.0)), float(predictor.get("tail_threshold", 0.0)))
        self.width = int(encoder.output_shapes[0][2])
        self.input_size = int(encoder.input_shapes[0][2])
        self.caches = [torch.zeros(1, *shape[1:]) for shape in self.decoder.input_shapes[4:]]

    def stream_start(
        self, chunk_size: tuple[int, int, int], encoder_look_back: int, decoder_look_back: int
    ) -> StreamCache:
        """An empty stream. Raises UsageError for look-back, for which the graphs have no caches."""
        if encoder_look_back or decoder_look_back:
            raise UsageError("an exported model does not look back", where="chunk_look_back",
                             hint="give 0, or use the folder that was exported")  # fmt: skip
        left, chunk, right = chunk_size
        context = torch.zeros(1, left + right, self.input_size)
        cache = StreamCache(left, chunk, right, 0, 0, context, context[:, :, :0], torch.zeros(self.width))
        cache.histories = dict(enumerate(self.caches))
        return cache

    def stream_encode(self, feats: Tensor, cache: StreamCache) -> Tensor:
        """As ``ParaformerOnline.stream_encode``."""
        positions = sinusoidal_positions(feats.size(1), self.input_size, start=cache.position + 1)
        cache.position += feats.size(1)
        x = torch.cat((cache.embedded, feats * self.width**0.5 + positions), dim=1)
        cache.embedded = x[:, x.size(1) - cache.left - cache.right :]
        cache.encoder_out, _, cache.alphas = self.encoder(x, torch.tensor([x.size(1)]))
        return cache.encoder_out

    def stream_decode(self, embeds: Tensor, cache: StreamCache) -> Tensor:
        """As ``ParaformerOnline.stream_decode``."""
        window, tokens = (torch.tensor([x.size(1)]) for x in (cache.encoder_out, embeds))
        log_probs, _, *after = self.decoder(cache.encoder_out, window, embeds, tokens, *cache.histories.values())
        cache.histories = dict(enumerate(after))
        return log_probs


class OnnxOnlineSteps(ParaformerOnlineSteps):
    """A stream through the graphs."""

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(OnnxParaformerOnline(model, folder), folder, options)


class StreamedSearch:
    """A whole utterance as a stream of it."""

    def __init__(self, steps: ParaformerOnlineSteps) -> None:
        self.steps = steps

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        return [[self._stream(row[None, :frames])] for row, frames in zip(feats, feat_lens.tolist())]

    def _stream(self, feats: Tensor) -> TokenHypothesis:
        state = self.steps.start(StreamOptions())
        ids: list[int] = []
        total, size = 0.0, self.steps.step_frames(state)
        whole = feats.size(1) - feats.size(1) % size
        for start in range(0, whole, size):
            new, score = self.steps.step(feats[:, start : start + size], state)
            ids, total = ids + new, total + score
        new, score = self.steps.finish(feats[:, whole:], state, float(feats.size(1) - whole))
        return TokenHypothesis(ids + new, total + score)


class OnnxOnlineSearch(OnnxSearch, StreamedSearch):
    """An exported Paraformer-online on whole files."""

    def __init__(self, model: OnnxModel, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        self.steps = OnnxOnlineSteps(model, folder, options)
