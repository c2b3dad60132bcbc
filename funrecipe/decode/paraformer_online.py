"""Paraformer-online in the family-neutral streaming loop, and on whole files ("fake streaming")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.paraformer import ParaformerSearch, greedy
from funrecipe.decode.streaming import StreamOptions
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.paraformer_online import StreamCache
from funrecipe.models.special_ids import BLANK_ID, EOS_ID

DEFAULT_CHUNK_SIZE = (5, 10, 5)  # 600 ms steps, 300 ms of context on both sides


class ParaformerOnlineSteps:
    """``StreamingModel`` of a Paraformer-online: greedy, one window a step.

    The end of a stream is FunASR's: a last window with the frames that are left; if they are none, the right context of
    the last window, which was held back; if less than one frame of audio (60 ms) is left, the cached frames once more.
    """

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        self._model = model

    def start(self, options: StreamOptions) -> StreamCache:
        return self._model.stream_start(
            options.chunk_size or DEFAULT_CHUNK_SIZE,
            options.encoder_chunk_look_back or 0,
            options.decoder_chunk_look_back or 0,
        )

    def step_frames(self, state: StreamCache) -> int:
        return state.chunk

    def step(self, feats: Tensor, state: StreamCache) -> tuple[list[int], float]:
        self._model.stream_encode(feats, state)
        return self._decode(self._model.stream_cif.predict(state, False), state)

    def step_many(self, steps: Sequence[tuple[Tensor, StreamCache]]) -> list[tuple[list[int], float]]:
        self._model.stream_encode_many([feats for feats, _ in steps], [state for _, state in steps])
        return [self._decode(self._model.stream_cif.predict(state, False), state) for _, state in steps]

    def finish(self, feats: Tensor, state: StreamCache, frames_left: float) -> tuple[list[int], float]:
        if state.position and frames_left < 1:
            if frames_left <= 0 or not state.embedded.size(1):  # without left and right context no frame is cached
                return self._decode(self._model.stream_cif.flush(state), state)
            feats = feats[:, :0]
        self._model.stream_encode(feats, state)
        return self._decode(self._model.stream_cif.predict(state, True), state)

    def _decode(self, embeds: Tensor, state: StreamCache) -> tuple[list[int], float]:
        if not embeds.size(1):
            return [], 0.0
        best = self._model.stream_decode(embeds, state)[0].max(dim=1)
        return [i for i in best.indices.tolist() if i not in (BLANK_ID, EOS_ID)], float(best.values.sum())


class ChunkedParaformerSearch(ParaformerSearch):
    """Whole files through chunk masks; ``decoding_ind`` chooses the chunk shape among those of ``encoder_conf``."""

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        self._shape_index = check_shape_index(options.decoding_ind or 0, len(model.encoder.chunk_shapes))

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        passed, log_probs = self.model.recognize_chunked(feats, feat_lens, self._shape_index)
        nbests = [[hypothesis] for hypothesis in greedy(log_probs, passed.token_lens)]
        if self.beam is None:
            return nbests
        found = self.search(log_probs, passed.token_lens, passed.layout.join(passed.encoder_out), feat_lens)
        return [beam or best for beam, best in zip(found, nbests)]


def check_shape_index(index: int, shapes: int) -> int:
    """``index``, if the encoder has a chunk shape of that number.

    Raises:
        UsageError: it does not.
    """
    if index >= shapes:
        raise UsageError(
            f"decoding_ind={index}, but the encoder has {shapes} chunk shapes",
            where="--decoding_ind or decoding.yaml",
            hint=f"give 0 to {shapes - 1} (see chunk_size in config.yaml: encoder_conf)",
        )
    return index
