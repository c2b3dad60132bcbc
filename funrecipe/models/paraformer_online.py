"""Paraformer-online: the Paraformer whose encoder works on chunks, of a whole utterance or of a stream.

Source: ``funasr.models.e2e_asr_paraformer.ParaformerOnline`` and the ``forward_chunk`` methods under it (0.8.8).
A stream goes window by window: left context, a chunk, right context. The window is encoded again each time, because
every frame attends to all of it; what a cache can keep is kept: the projections of the first block, with look-back the
keys and values of all earlier chunks, the running sum of the predictor, the memories and keys of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from funrecipe.models.cif import CifPredictorV2
from funrecipe.models.layers import depthwise_conv
from funrecipe.models.paraformer import Paraformer, build_paraformer
from funrecipe.models.sanm import Memory, ParaformerSANMDecoder, SANMDecoderLayer, SANMSelfAttention, attend
from funrecipe.models.sanm_chunk import Pass, SANMChunkEncoder, predict, require_chunk_attention

KeysValues = tuple[Tensor, Tensor]  # each (1, T, D)


@dataclass
class StreamCache:
    """What one stream keeps between steps.

    Attributes:
        left, chunk, right: frames of a window; the chunk is what a step adds, and what the predictor then counts.
        encoder_look_back, decoder_look_back: chunks; -1: all in the encoder, none in the decoder (as in FunASR).
        position: frames seen.
        embedded, projected: the window's last ``left + right`` frames, embedded and through the first q-k-v projection.
        encoder_keys: per block, keys and values of earlier chunks (look-back only).
        held: encoder output (T, D) and alphas (T,) of the right context, which count only once it is known
            whether more frames follow.
        carry_alpha, carry_hidden: what the predictor has accumulated for the next token, (D,).
        encoder_out: the last window (1, T, D); alphas: its (1, T).
        memories: keys and values of the last window per decoder layer, once computed.
        decoder_keys: keys and values of earlier windows (look-back only); histories: inputs of the decoder's memories.
    """

    left: int
    chunk: int
    right: int
    encoder_look_back: int
    decoder_look_back: int
    embedded: Tensor
    projected: Tensor
    carry_hidden: Tensor
    carry_alpha: float = 0.0
    position: int = 0
    encoder_keys: list[KeysValues] = field(default_factory=list)
    held: tuple[Tensor, Tensor] | None = None
    encoder_out: Tensor | None = None
    alphas: Tensor | None = None
    memories: list[KeysValues] = field(default_factory=list)
    decoder_keys: list[KeysValues] = field(default_factory=list)
    histories: dict[int, Tensor] = field(default_factory=dict)


class StreamCif(NamedTuple):
    """Integrate-and-fire over the windows of a stream, on top of what its cache carries.

    Attributes:
        threshold, tail_threshold: of the predictor.
    """

    threshold: float
    tail_threshold: float

    def predict(self, cache: StreamCache, is_final: bool) -> Tensor:
        """Acoustic embeddings (1, U, D) of the tokens that fire in the new window.

        The right context is held back until :meth:`flush` or the next window, unless the stream ends here.
        """
        hidden, alphas = cache.encoder_out[0], cache.alphas[0]
        counted = cache.left + cache.chunk
        cache.held = hidden[counted:], alphas[counted:]
        embeds = self._integrate(hidden[cache.left : counted], alphas[cache.left : counted], cache)
        return torch.cat((embeds, self.flush(cache)), dim=1) if is_final else embeds

    def flush(self, cache: StreamCache) -> Tensor:
        """End of the stream: what fires in the right context held back and in the tail frame, (1, U, D)."""
        hidden, alphas = cache.held
        tail = alphas.new_tensor([self.tail_threshold])
        return self._integrate(F.pad(hidden, (0, 0, 0, 1)), torch.cat((alphas, tail)), cache)

    def _integrate(self, hidden: Tensor, alphas: Tensor, cache: StreamCache) -> Tensor:
        threshold = self.threshold
        shares = [[cache.carry_alpha]]  # of every frame (the carried one first) in every token
        gathered = cache.carry_alpha
        for t, alpha in enumerate(alphas.tolist(), start=1):
            if gathered + alpha < threshold:
                shares[-1].append(alpha)
                gathered += alpha
            else:
                shares[-1].append(threshold - gathered)
                gathered += alpha - threshold
                shares.append([0.0] * t + [gathered])
        frames = len(alphas) + 1
        weights = hidden.new_tensor([row + [0.0] * (frames - len(row)) for row in shares])
        sums = weights @ torch.cat((cache.carry_hidden[None], hidden))
        cache.carry_alpha, cache.carry_hidden = gathered, sums[-1] / gathered if gathered > 0.0 else sums[-1]
        return sums[None, :-1]


class ParaformerOnline(Paraformer):
    """Keys as in :class:`Paraformer`. ``forward`` takes whole utterances; the ``stream_*`` methods one stream."""

    encoder: SANMChunkEncoder
    predictor: CifPredictorV2
    decoder: ParaformerSANMDecoder

    def recognize_chunked(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> tuple[Pass, Tensor]:
        """``feats`` (B, T, F) through chunk masks ("fake streaming"), and the log-probabilities (B, U, V)."""
        passed = predict(*self.encoder.encode_chunks(feats, feat_lens, shape_index), self.predictor)
        lens, embeds = passed.token_lens, passed.cif.embeds[:, : int(passed.token_lens.max())]
        logits = self.decoder(passed.encoder_out, passed.layout.lens, embeds, lens, passed.attention_mask)
        return passed, logits.log_softmax(dim=-1)

    def forward(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, U, V) and token numbers (B,) int64 of whole utterances."""
        passed, log_probs = self.recognize_chunked(feats, feat_lens, shape_index)
        return log_probs, passed.token_lens

    def stream_start(
        self, chunk_size: tuple[int, int, int], encoder_look_back: int = 0, decoder_look_back: int = 0
    ) -> StreamCache:
        """An empty stream. With encoder look-back the cached keys replace the left context."""
        left, chunk, right = chunk_size
        if encoder_look_back != 0:
            left = 0
        weight = self.encoder.after_norm.weight
        zeros = weight.new_zeros(1, left + right, self.encoder.input_size)
        return StreamCache(
            left,
            chunk,
            right,
            encoder_look_back,
            decoder_look_back,
            zeros,
            self._project(zeros),
            weight.new_zeros(self.encoder.output_size),
        )

    def stream_encode(self, feats: Tensor, cache: StreamCache) -> Tensor:
        """Encode the cached frames and ``feats`` (1, T, F), T >= 0 -> (1, left + right + T, D)."""
        new = self.encoder.add_positions(feats, start=cache.position + 1)
        cache.position += feats.size(1)
        cache.encoder_out, cache.memories = self._encode_window(new, cache), []
        cache.alphas = self.predictor.alphas(cache.encoder_out)
        return cache.encoder_out

    def stream_encode_many(self, feats: Sequence[Tensor], caches: Sequence[StreamCache]) -> None:
        """:meth:`stream_encode` of several streams; those whose tensors have the same sizes are computed together."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, (frames, cache) in enumerate(zip(feats, caches, strict=True)):
            sizes = (cache.left, cache.chunk, cache.right, cache.encoder_look_back, cache.embedded.size(1))
            past = (cache.encoder_keys[0][0].size(1),) if cache.encoder_keys else ()
            alike.setdefault((frames.size(1), *sizes, *past), []).append(number)
        for numbers in alike.values():
            self._encode_alike([feats[n] for n in numbers], [caches[n] for n in numbers])

    def _encode_alike(self, feats: Sequence[Tensor], caches: Sequence[StreamCache]) -> None:
        together = replace(
            caches[0],
            embedded=torch.cat([cache.embedded for cache in caches]),
            projected=torch.cat([cache.projected for cache in caches]),
            encoder_keys=[
                (torch.cat([key for key, _ in layer]), torch.cat([value for _, value in layer]))
                for layer in zip(*(cache.encoder_keys for cache in caches), strict=True)
            ],
        )
        placed = [
            self.encoder.add_positions(x, start=cache.position + 1) for x, cache in zip(feats, caches, strict=True)
        ]
        encoder_out = self._encode_window(torch.cat(placed), together)
        for row, cache in enumerate(caches):
            own = slice(row, row + 1)
            cache.position += feats[row].size(1)
            cache.embedded, cache.projected = together.embedded[own], together.projected[own]
            cache.encoder_keys = [(key[own], value[own]) for key, value in together.encoder_keys]
            cache.encoder_out, cache.memories = encoder_out[own], []
            cache.alphas = self.predictor.alphas(cache.encoder_out)

    def _encode_window(self, new: Tensor, cache: StreamCache) -> Tensor:
        """The encoder over the cached frames and ``new`` (B, T, F) of B streams, whose caches are joined in one."""
        x = torch.cat((cache.embedded, new), dim=1)
        projected = torch.cat((cache.projected, self._project(new)), dim=1)
        kept = x.size(1) - cache.left - cache.right
        cache.embedded, cache.projected = x[:, kept:], projected[:, kept:]
        for i, layer in enumerate((*self.encoder.encoders0, *self.encoder.encoders)):
            if i:
                projected = layer.project(x)
            x = layer.finish(x, *self._attend(layer.self_attn, projected, cache, i))
        return self.encoder.after_norm(x)

    def _project(self, embedded: Tensor) -> Tensor:
        return self.encoder.encoders0[0].project(embedded)

    @staticmethod
    def _attend(
        attention: SANMSelfAttention, projected: Tensor, cache: StreamCache, layer_index: int
    ) -> tuple[Tensor, Tensor]:
        """What ``attention`` gives for a window; with look-back also over the cached keys, which are then shifted."""
        query, key, value = projected.chunk(3, dim=-1)
        memory = attention.fsmn_block(value)
        if cache.encoder_look_back != 0:
            without_right = key.size(1) - cache.right
            fresh = key[:, :without_right], value[:, :without_right]
            if layer_index < len(cache.encoder_keys):
                past = cache.encoder_keys[layer_index]
                key, value = torch.cat((past[0], key), dim=1), torch.cat((past[1], value), dim=1)
                reach = cache.encoder_look_back * cache.chunk
                cache.encoder_keys[layer_index] = tuple(  # type: ignore[assignment]  # a pair
                    joined[:, max(0, joined.size(1) - reach) :] if reach > 0 else joined
                    for joined in (torch.cat(pair, dim=1) for pair in zip(past, fresh))
                )
            else:
                cache.encoder_keys.append(fresh)
        return attend(query, key, value, attention.heads, None), memory

    @property
    def stream_cif(self) -> StreamCif:
        """What follows :meth:`stream_encode`, and gives :meth:`stream_decode` its ``embeds``."""
        return StreamCif(self.predictor.threshold, self.predictor.tail_threshold)

    def stream_decode(self, embeds: Tensor, cache: StreamCache) -> Tensor:
        """Log-probabilities (1, U, V) of ``embeds`` (1, U, D), U >= 1, which attend to the last window."""
        decoder = self.decoder
        if not cache.memories:
            self._move_memories_on(cache)
        x = embeds
        for i, layer in enumerate((*decoder.decoders, *getattr(decoder, "decoders2", ()))):
            memory = cache.memories[i] if layer.src_attn is not None else None
            x = self._decoder_layer(layer, x, memory, cache, i)
        x = decoder.decoders3[0].transform(x)
        return decoder.output_layer(decoder.after_norm(x)).log_softmax(dim=-1)

    def _move_memories_on(self, cache: StreamCache) -> None:
        """Keys and values of the last window, after those of earlier windows within the look-back."""
        layers = self.decoder.decoders
        cache.memories = [layer.src_attn.linear_k_v(cache.encoder_out).chunk(2, dim=-1) for layer in layers]
        if cache.decoder_look_back > 0:
            if cache.decoder_keys:
                cache.memories = [
                    tuple(torch.cat(pair, dim=1) for pair in zip(past, fresh))
                    for past, fresh in zip(cache.decoder_keys, cache.memories)
                ]
            reach = cache.decoder_look_back * cache.chunk
            cache.decoder_keys = [(key[:, -reach:], value[:, -reach:]) for key, value in cache.memories]

    @staticmethod
    def _decoder_layer(
        layer: SANMDecoderLayer, x: Tensor, memory: KeysValues | None, cache: StreamCache, layer_index: int
    ) -> Tensor:
        transformed = layer.transform(x)
        x = x + continue_memory(layer.self_attn.fsmn_block, transformed, cache.histories, layer_index)
        if memory is None:
            return x
        cross = layer.src_attn
        return x + cross.linear_out(attend(cross.linear_q(layer.norm3(x)), *memory, cross.heads, None))


def continue_memory(memory: Memory, x: Tensor, histories: dict[int, Tensor], key: int) -> Tensor:
    """The memory of ``x`` (1, U, D) after what this memory read before; updates its history."""
    before, after = memory.left_right
    history = histories.get(key)
    context = F.pad(x, (0, 0, before, after)) if history is None else torch.cat((history, x), dim=1)
    histories[key] = context[:, context.size(1) - (before + after) :]
    return read_taps(memory, context) + x


def read_taps(memory: Memory, context: Tensor) -> Tensor:
    """The depthwise convolution of ``context`` (1, T + k - 1, D); the few frames of a decoder as one product."""
    if context.size(1) >= 2 * memory.kernel_size[0]:
        return depthwise_conv(context, memory.weight)
    taps = context.unfold(1, memory.kernel_size[0], 1).transpose(2, 3)
    return (taps * memory.weight[:, 0].T).sum(dim=2)


def build_paraformer_online(config: Mapping[str, Any], input_size: int, vocab_size: int) -> ParaformerOnline:
    """Paraformer with the chunk encoder; the decoder's memories must look back only, for a stream to be exact."""
    require_chunk_attention(config.get("model_conf") or {}, "decoder_attention_chunk_type")
    return build_paraformer(
        config,
        input_size,
        vocab_size,
        model=ParaformerOnline,
        encoders={"sanm_chunk_opt": SANMChunkEncoder},
        decoders={"paraformer_decoder_sanm": ParaformerSANMDecoder},
        predictors={"cif_predictor_v2": CifPredictorV2},
    )
