"""Recognition with RNN transducers: whole utterances, and streams chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import commonprefix

import torch
from torch import Tensor

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.language_model import load_fusion
from funrecipe.decode.options import DecodeOptions, decoding_mode_of
from funrecipe.decode.streaming import StreamOptions
from funrecipe.decode.tiled_model import refuse_tiles_in
from funrecipe.decode.transducer_search import TransducerHypothesis, TransducerOptions, TransducerSearch
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.chunk_conformer import MIN_LAST_FRAMES, EncoderCache
from funrecipe.models.special_ids import BLANK_ID
from funrecipe.models.transducer import TransducerModel

DEFAULT_BEAM_SIZE = 5


class TransducerRecognition:
    """Offline search over whole utterances; the encoder runs batched, the search utterance by utterance."""

    def __init__(self, model: TransducerModel, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model, self.nbest = model, options.nbest or 1
        self.mode = decoding_mode_of(options, folder.family)
        if self.mode == "simu_chunk" and not hasattr(model.encoder, "forward_chunked"):
            raise UsageError(
                "decoding_mode 'simu_chunk' needs a chunk_conformer encoder",
                where=str(folder.path),
                hint="leave decoding_mode out",
            )
        if self.mode == "simu_chunk":
            refuse_tiles_in(getattr(model, "precision", "fp32"), model, "decoding_mode 'simu_chunk' is")
        fusion = load_fusion(folder, options, device=model.device)
        self.search = TransducerSearch(model, search_options(model, options, self.nbest), fusion)

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        encode = self.model.encode if self.mode == "full_utt" else self.model.encoder.forward_chunked
        encoder_out, lens = encode(feats, feat_lens)
        return [
            [text_hypothesis(hyp) for hyp in self._search(frames[:length])]
            for frames, length in zip(encoder_out, lens.tolist(), strict=True)
        ]

    def _search(self, frames: Tensor) -> list[TransducerHypothesis]:
        """The n-best texts; the searches may find one by several alignments, of which the best one counts."""
        texts: dict[tuple[int, ...], TransducerHypothesis] = {}
        for hyp in self.search.results(self.search.advance(self.search.start(), frames)):
            texts.setdefault(hyp.tokens, hyp)
        return list(texts.values())[: self.nbest]


def search_options(model: TransducerModel, options: DecodeOptions, nbest: int) -> TransducerOptions:
    """The options of the search."""
    beam_size = min(options.beam_size or max(DEFAULT_BEAM_SIZE, nbest), model.decoder.vocab_size - 1)
    return TransducerOptions(beam_size, options.search_type or "default", bool(options.score_norm))


@dataclass
class TransducerStream:
    """A stream between two steps: encoder caches, the beam, frames that wait for their right context, tokens so far."""

    encoder: EncoderCache
    beam: list[TransducerHypothesis]
    chunk_size: int
    right_context: int
    waiting: Tensor | None = None
    said: tuple[int, ...] = ()


class TransducerSteps:
    """``StreamingModel`` of an RNN transducer (see funrecipe.decode.streaming).

    ``chunk_size`` of a stream is (left, chunk, right) in encoder frames (40 ms at a subsampling of 4). Tokens are
    emitted when every hypothesis of the beam agrees on them, so no output is taken back.
    """

    def __init__(self, model: TransducerModel, folder: ModelFolder, options: DecodeOptions) -> None:
        if not getattr(model.encoder, "can_stream", False):
            raise UsageError(
                "this transducer was not trained for streaming",
                where=f"{folder.path}: encoder_conf",
                hint="recognize whole utterances with it; a stream needs a chunk_conformer encoder "
                "with unified_model_training or dynamic_chunk_training",
            )
        settings = search_options(model, options, nbest=1)
        if settings.search_type == "alsd":
            raise UsageError(
                "search_type 'alsd' needs the whole utterance",
                where="decoding.yaml",
                hint="use default, tsd or maes on a stream",
            )
        self.model = model
        self.search = TransducerSearch(model, settings, load_fusion(folder, options, device=model.device))

    def start(self, options: StreamOptions) -> TransducerStream:
        for name in ("encoder_chunk_look_back", "decoder_chunk_look_back"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"{name} has no effect on a transducer",
                    where="param_dict",
                    hint="set the left context by the first number of chunk_size",
                )
        encoder = self.model.encoder
        default = encoder.default_chunk_size
        left, chunk, right = options.chunk_size or (default * max(1, encoder.left_chunk_size), default, 0)
        return TransducerStream(encoder.start(left), self.search.start(), chunk, right)

    def step_frames(self, state: TransducerStream) -> int:
        return state.chunk_size * self.model.encoder.embed.factor

    def step(self, feats: Tensor, state: TransducerStream) -> tuple[list[int], float]:
        """A chunk is processed as soon as the frames of its right context have arrived."""
        waiting = self._joined(feats, state)
        step, ahead = self.step_frames(state), state.right_context * self.model.encoder.embed.factor
        while waiting.size(1) >= step + ahead:
            self._advance(waiting[:, : step + ahead], state, state.right_context)
            waiting = waiting[:, step:]
        state.waiting = waiting
        return self._agreed(state), 0.0

    def finish(self, feats: Tensor, state: TransducerStream, frames_left: float) -> tuple[list[int], float]:
        """The remaining frames are the last chunk; as in FunASR, a very short one is padded with zeros."""
        waiting = self._joined(feats, state)
        if waiting.size(1):
            missing = MIN_LAST_FRAMES + state.right_context - waiting.size(1)
            self._advance(torch.nn.functional.pad(waiting, (0, 0, 0, max(0, missing))), state, 0)
        best = self.search.results(state.beam)[0]
        new = best.tokens[1 + len(state.said) :]
        state.said += new
        return list(new), best.score

    def _joined(self, feats: Tensor, state: TransducerStream) -> Tensor:
        return feats if state.waiting is None else torch.cat([state.waiting, feats], dim=1)

    def _advance(self, feats: Tensor, state: TransducerStream, right_context: int) -> None:
        frames = self.model.encoder.step(feats, state.encoder, right_context)
        state.beam = self.search.advance(state.beam, frames[0])

    def _agreed(self, state: TransducerStream) -> list[int]:
        """New labels that all hypotheses have in common."""
        new = commonprefix([hyp.tokens for hyp in state.beam])[1 + len(state.said) :]
        state.said += new
        return list(new)


def text_hypothesis(hyp: TransducerHypothesis) -> TokenHypothesis:
    """Without blanks."""
    return TokenHypothesis([i for i in hyp.tokens if i != BLANK_ID], hyp.score)
