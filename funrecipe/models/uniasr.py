"""UniASR: a streaming first pass and a second pass on top of it, each with its own predictor and decoder.

Source: ``funasr.models.e2e_uni_asr.UniASR`` and ``FsmnDecoderSCAMAOpt`` (0.8.8); Gao et al. 2020, "Universal ASR:
Unifying Streaming and Non-Streaming ASR Using a Single Encoder-Decoder Model", arXiv 2010.14099.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.cif import CifPredictorV2
from funrecipe.models.ctc import CTC, DEFAULT_CTC_WEIGHT
from funrecipe.models.layers import LayerNorm, length_mask, padding_mask
from funrecipe.models.paraformer import build_ctc
from funrecipe.models.registry import build_component
from funrecipe.models.sanm import (
    INERT_SETTINGS,
    CrossAttention,
    DecoderMemory,
    NormedFeedForward,
    SANMDecoderLayer,
    attend,
)
from funrecipe.models.sanm_chunk import ChunkLayout, Pass, SANMChunkEncoder, predict, require_chunk_attention


@dataclass(frozen=True)
class ScamaMemory:
    """What decoding steps read: per layer projected keys and values (B, T', D), masks, acoustic embeddings."""

    keys_values: list[tuple[Tensor, Tensor]]
    attention_mask: Tensor  # (B, U, T')
    embeds: Tensor  # (B, U', D)
    token_lens: Tensor  # (B,)

    def rows(self, rows: Tensor) -> ScamaMemory:
        """The memory of some utterances."""
        return ScamaMemory(
            [(key[rows], value[rows]) for key, value in self.keys_values],
            self.attention_mask[rows],
            self.embeds[rows],
            self.token_lens[rows],
        )


class JoinedEmbedding(nn.Module):
    """Token and acoustic embedding through one feed-forward block: (..., size + encoder_size) -> (..., size)."""

    def __init__(self, size: int, encoder_size: int, units: int, dropout_rate: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(size + encoder_size)
        self.feed_forward = NormedFeedForward(size + encoder_size, units, dropout_rate)
        self.feed_forward.w_2 = nn.Linear(units, size, bias=False)

    def forward(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        return self.feed_forward(self.norm1(torch.cat((tokens, embeds), dim=-1)))


class ScamaDecoder(nn.Module):
    """Autoregressive decoder whose attention follows the chunks (``fsmn_scama_opt``).

    Arguments carry the names of ``decoder_conf``. Keys: ``embed.0``, ``embed_concat_ffn.0``, ``decoders.N``
    (``att_layer_num``), ``decoders2.N`` (no attention), ``decoders3.0`` (feed-forward), ``after_norm``,
    ``output_layer``. Its memories look back only.
    """

    INERT = INERT_SETTINGS | {
        "input_layer": "embed",
        "use_output_layer": True,
        "pos_enc_class": ...,
        "embed_tensor_name_prefix_tf": ...,
    }

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        self_attention_dropout_rate: float = 0.0,
        src_attention_dropout_rate: float = 0.0,
        att_layer_num: int = 6,
        kernel_size: int = 21,
        sanm_shfit: int | None = None,
        concat_embeds: bool = False,
        attention_dim: int | None = None,
    ) -> None:
        super().__init__()
        size = attention_dim or encoder_output_size
        shift = (kernel_size - 1) // 2 if sanm_shfit is None else sanm_shfit

        def block(*, attention: bool) -> SANMDecoderLayer:
            memory = DecoderMemory(size, self_attention_dropout_rate, kernel_size, shift)
            cross = CrossAttention(attention_heads, size, src_attention_dropout_rate, encoder_output_size)
            return SANMDecoderLayer(size, linear_units, dropout_rate, memory, cross if attention else None)

        self.kernel_size = kernel_size
        self.embed = nn.Sequential(nn.Embedding(vocab_size, size))
        self.embed_concat_ffn = (
            nn.ModuleList([JoinedEmbedding(size, encoder_output_size, linear_units, dropout_rate)])
            if concat_embeds
            else None
        )
        self.decoders = nn.ModuleList([block(attention=True) for _ in range(att_layer_num)])
        if num_blocks > att_layer_num:
            self.decoders2 = nn.ModuleList([block(attention=False) for _ in range(num_blocks - att_layer_num)])
        self.decoders3 = nn.ModuleList([SANMDecoderLayer(size, linear_units, dropout_rate)])
        self.after_norm = LayerNorm(size)
        self.output_layer = nn.Linear(size, vocab_size)

    @property
    def layers(self) -> tuple[SANMDecoderLayer, ...]:
        """All layers with a memory, in order."""
        return (*self.decoders, *getattr(self, "decoders2", ()))

    def forward(
        self,
        encoder_out: Tensor,
        tokens: Tensor,
        token_lens: Tensor,
        attention_mask: Tensor,
        embeds: Tensor,
    ) -> Tensor:
        """Logits (B, U, V) with given input tokens (training).

        Args:
            encoder_out: (B, T, D).
            tokens: (B, U) beginning with sos; token_lens: (B,).
            attention_mask: (B, U, T) bool; embeds: (B, U, D) acoustic embeddings.
        """
        token_mask = padding_mask(token_lens, tokens.size(1))
        x = self._embed(tokens, embeds)
        for layer in (*self.layers, *self.decoders3):
            x = layer(x, token_mask, encoder_out, attention_mask[:, None])
        return self.output_layer(self.after_norm(x))

    def _embed(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        x = self.embed(tokens)
        return x if self.embed_concat_ffn is None else self.embed_concat_ffn[0](x, embeds)

    def memory(self, passed: Pass) -> ScamaMemory:
        """Project the encoder output once for all steps."""
        keys_values = [layer.src_attn.linear_k_v(passed.encoder_out).chunk(2, dim=-1) for layer in self.decoders]
        return ScamaMemory(keys_values, passed.attention_mask, passed.cif.embeds, passed.token_lens)

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of ``batch`` empty hypotheses: per layer the inputs its memory still reads, (B, 1, k - 1, D)."""
        size = self.after_norm.weight.numel()
        return [torch.zeros(batch, 1, self.kernel_size - 1, size, device=device) for _ in self.layers]

    def step(
        self, tokens: Tensor, state: list[Tensor], memory: ScamaMemory, position: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities (B, K, V) of the next token after ``tokens`` (B, K), the last of K hypotheses each.

        The token at ``position`` reads that acoustic embedding (zeros past the last) and that row of the mask (the
        last row of its utterance from then on).
        """
        batch, width = tokens.shape
        embeds = (
            memory.embeds[:, position] if position < memory.embeds.size(1) else torch.zeros_like(memory.embeds[:, 0])
        )
        row = memory.token_lens.clamp(max=position + 1) - 1
        mask = memory.attention_mask[torch.arange(batch, device=row.device), row][:, None, None, :]
        x = self._embed(tokens, embeds[:, None].expand(-1, width, -1))
        new_state = []
        for i, layer in enumerate(self.layers):
            transformed = layer.norm2(layer.feed_forward(layer.norm1(x)))
            window = torch.cat((state[i], transformed[:, :, None]), dim=2)  # (B, K, kernel_size, D)
            new_state.append(window[:, :, 1:])
            weight = layer.self_attn.fsmn_block.weight[:, 0].T
            x = x + transformed + (window * weight).sum(dim=2)
            if layer.src_attn is not None:
                cross, (key, value) = layer.src_attn, memory.keys_values[i]
                query = cross.linear_q(layer.norm3(x))
                x = x + cross.linear_out(attend(query, key, value, cross.heads, mask))
        x = self.decoders3[0].feed_forward(self.decoders3[0].norm1(x))
        return self.output_layer(self.after_norm(x)).log_softmax(dim=-1), new_state


class StrideConv(nn.Module):
    """Halves the frame rate (``stride_conv1d``): pad, convolution, ReLU. Keys ``conv.{weight,bias}``."""

    def __init__(self, size: int, kernel_size: int = 2, stride: int = 2, pad: Sequence[int] = (0, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv1d(size, size, kernel_size, stride)
        self.pad, self.stride = tuple(pad), stride

    def forward(self, x: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) (zero past ``lens``) -> (B, T', D), lengths; zero past them."""
        x = torch.relu(self.conv(F.pad(x.transpose(1, 2), self.pad))).transpose(1, 2)
        lens = (lens - 1).div(self.stride, rounding_mode="floor") + 1
        return x * length_mask(lens, x.size(1))[:, :, None], lens


class UniASR(nn.Module):
    """Keys: ``encoder decoder predictor`` of the first pass, the same with a 2 of the second, and ``stride_conv``.

    ``ctc`` and ``ctc2`` follow the encoder outputs without chunks; they are trained where the configuration gives
    them a weight; no search reads them.
    """

    def __init__(
        self,
        encoder: SANMChunkEncoder,
        predictor: CifPredictorV2,
        decoder: ScamaDecoder,
        stride_conv: StrideConv,
        encoder2: SANMChunkEncoder,
        predictor2: CifPredictorV2,
        decoder2: ScamaDecoder,
        ctc: CTC | None = None,
        ctc2: CTC | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.predictor, self.decoder = encoder, predictor, decoder
        self.stride_conv = stride_conv
        self.encoder2, self.predictor2, self.decoder2 = encoder2, predictor2, decoder2
        if ctc is not None:
            self.ctc = ctc
        if ctc2 is not None:
            self.ctc2 = ctc2

    def encode(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> tuple[Tensor, Tensor]:
        """First-pass encoder output (B, T, D), without chunks, and its lengths."""
        return self.encoder(feats, feat_lens, shape_index)

    def first_pass(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> Pass:
        """``feats`` (B, T, F) through the first encoder and predictor, with the chunk shape of that index."""
        return predict(*self.encoder.encode_chunks(feats, feat_lens, shape_index), self.predictor)

    def second_pass(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> Pass:
        """``feats`` (B, T, F) through both encoders and the second predictor."""
        encoder_out, layout = self.encoder.encode_chunks(feats, feat_lens, shape_index)
        x, x_lens = self.join(encoder_out, layout, feats)
        return predict(*self.encoder2.encode_chunks(x, x_lens, shape_index), self.predictor2)

    def join(self, encoder_out: Tensor, layout: ChunkLayout, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Input of the second encoder at half the rate, and its lengths; ``feats`` are zero past their lengths."""
        joined = torch.cat((feats[:, : int(layout.feat_lens.max())], layout.join(encoder_out)), dim=-1)
        return self.stride_conv(joined, layout.feat_lens)


def build_uniasr(config: Mapping[str, Any], input_size: int, vocab_size: int) -> UniASR:
    """Both passes as ``config`` describes them.

    Raises:
        ValueError: decoder attention of another kind than ``chunk``.
    """
    model_conf = config.get("model_conf") or {}
    for key in ("decoder_attention_chunk_type", "decoder_attention_chunk_type2"):
        require_chunk_attention(model_conf, key)
    second_ctc_weight = model_conf.get("ctc_weight2", DEFAULT_CTC_WEIGHT)
    encoders = {"sanm_chunk_opt": SANMChunkEncoder}
    decoders, predictors = {"fsmn_scama_opt": ScamaDecoder}, {"cif_predictor_v2": CifPredictorV2}
    encoder = build_component(config, "encoder", encoders, input_size=input_size)
    joined_size = input_size + encoder.output_size
    encoder2 = build_component(config, "encoder2", encoders, input_size=joined_size)
    decoder, decoder2 = (
        build_component(config, key, decoders, vocab_size=vocab_size, encoder_output_size=size)
        for key, size in (("decoder", encoder.output_size), ("decoder2", encoder2.output_size))
    )
    return UniASR(
        encoder,
        build_component(config, "predictor", predictors),
        decoder,
        build_component(config, "stride_conv", {"stride_conv1d": StrideConv}, size=joined_size),
        encoder2,
        build_component(config, "predictor2", predictors),
        decoder2,
        build_ctc(config, vocab_size, encoder.output_size),
        build_ctc({"model_conf": {"ctc_weight": second_ctc_weight}}, vocab_size, encoder2.output_size),
    )
