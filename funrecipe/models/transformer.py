"""Transformer encoder and decoder (Vaswani et al. 2017) with FunASR's state-dict keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from funrecipe.models.attention import MultiHeadedAttention
from funrecipe.models.input_layers import PositionalEncoding, build_input_layer
from funrecipe.models.layers import FeedForward, LayerNorm, length_mask


def causal_mask(size: int, device: torch.device) -> Tensor:
    """(size, size) bool, True where position i may look at position j <= i."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


class ResidualLayer(nn.Module):
    """A layer whose branches are added to their input, with layer norm before or (``normalize_before`` False) after."""

    def __init__(self, dropout: float, *, normalize_before: bool) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.normalize_before = normalize_before

    def _residual(self, x: Tensor, norm: nn.Module, branch: Any) -> Tensor:
        if self.normalize_before:
            return x + self.dropout(branch(norm(x)))
        return norm(x + self.dropout(branch(x)))


class TransformerEncoderLayer(ResidualLayer):
    """Self-attention and feed-forward. FunASR: EncoderLayer."""

    def __init__(
        self,
        dim: int,
        heads: int,
        linear_units: int,
        dropout: float,
        attention_dropout: float,
        *,
        normalize_before: bool = True,
    ) -> None:
        super().__init__(dropout, normalize_before=normalize_before)
        self.self_attn = MultiHeadedAttention(heads, dim, attention_dropout)
        self.feed_forward = FeedForward(dim, linear_units, dropout)
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` (B, T, D), ``mask`` (B, 1 or T, T) -> (B, T, D)."""
        x = self._residual(x, self.norm1, lambda y: self.self_attn(y, y, mask))
        return self._residual(x, self.norm2, self.feed_forward)

    def step(self, x: Tensor, past: tuple[Tensor, Tensor], key_mask: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One token of K hypotheses per utterance, causally; arguments as MultiHeadedAttention.step."""
        longer = past

        def attend(y: Tensor) -> Tensor:
            nonlocal longer
            context, longer = self.self_attn.step(y, past, key_mask)
            return context

        x = self._residual(x, self.norm1, attend)
        return self._residual(x, self.norm2, self.feed_forward), longer


class TransformerEncoder(nn.Module):
    """FunASR: TransformerEncoder; arguments: ``encoder_conf``. ``pad_invariant``: see ConformerEncoder."""

    INERT = {
        "concat_after": False,
        "positionwise_layer_type": "linear",
        "positionwise_conv_kernel_size": ...,
        "padding_idx": ...,
        "interctc_layer_idx": [],
        "interctc_use_conditioning": ...,
    }
    pad_invariant = True

    def __init__(
        self,
        input_size: int,
        output_size: int = 256,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        input_layer: str | None = "conv2d",
        normalize_before: bool = True,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        position = PositionalEncoding(output_size, positional_dropout_rate)
        self.embed = build_input_layer(input_layer, input_size, output_size, dropout_rate, position, relu=True)
        self.encoders = nn.ModuleList(
            TransformerEncoderLayer(
                output_size,
                attention_heads,
                linear_units,
                dropout_rate,
                attention_dropout_rate,
                normalize_before=normalize_before,
            )
            for _ in range(num_blocks)
        )
        self.after_norm = LayerNorm(output_size) if normalize_before else None

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,). Padding is zero if pad_invariant."""
        x, _, lens = self.embed(feats, feat_lens, self.pad_invariant)
        frame_mask = length_mask(lens, x.size(1))
        for layer in self.encoders:
            x = layer(x, frame_mask.unsqueeze(1))
        if self.after_norm is not None:
            x = self.after_norm(x)
        if self.pad_invariant:
            x = x.masked_fill(~frame_mask.unsqueeze(-1), 0.0)
        return x, lens


class TransformerDecoderLayer(ResidualLayer):
    """Causal self-attention, attention to the encoder, feed-forward. FunASR: DecoderLayer."""

    def __init__(
        self,
        dim: int,
        heads: int,
        linear_units: int,
        dropout: float,
        self_dropout: float,
        src_dropout: float,
        *,
        normalize_before: bool = True,
    ) -> None:
        super().__init__(dropout, normalize_before=normalize_before)
        self.self_attn = MultiHeadedAttention(heads, dim, self_dropout)
        self.src_attn = MultiHeadedAttention(heads, dim, src_dropout)
        self.feed_forward = FeedForward(dim, linear_units, dropout)
        self.norm1, self.norm2, self.norm3 = LayerNorm(dim), LayerNorm(dim), LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """``x`` (B, U, D), ``mask`` (B, U, U), ``memory`` (B, T, D), ``memory_mask`` (B, 1, T) -> (B, U, D)."""
        x = self._residual(x, self.norm1, lambda y: self.self_attn(y, y, mask))
        x = self._residual(x, self.norm2, lambda y: self.src_attn(y, memory, memory_mask))
        return self._residual(x, self.norm3, self.feed_forward)

    def step(
        self, x: Tensor, past: tuple[Tensor, Tensor], memory: tuple[Tensor, Tensor], memory_mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One token of K hypotheses per utterance.

        ``x`` (B, K, D); ``past``: keys and values so far, each (B, K, U, D); ``memory``: those of the encoder, each
        (B, H, T, d); ``memory_mask`` (B, T). Returns (B, K, D) and the longer keys and values.
        """
        longer = past

        def attend_self(y: Tensor) -> Tensor:
            nonlocal longer
            context, longer = self.self_attn.step(y, past)
            return context

        def attend_memory(y: Tensor) -> Tensor:
            query = self.src_attn.split_heads(self.src_attn.linear_q(y))
            return self.src_attn.attend(query, *memory, memory_mask[:, None, None])

        x = self._residual(x, self.norm1, attend_self)
        x = self._residual(x, self.norm2, attend_memory)
        return self._residual(x, self.norm3, self.feed_forward), longer


class DecoderMemory(NamedTuple):
    """The encoder's frames as the decoder steps need them: per layer keys and values, and which frames exist."""

    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor

    def rows(self, rows: Tensor) -> DecoderMemory:
        """The memory of some utterances."""
        return DecoderMemory([(keys[rows], values[rows]) for keys, values in self.layers], self.mask[rows])


class TransformerDecoder(nn.Module):
    """FunASR: TransformerDecoder; arguments are the keys of ``decoder_conf``."""

    INERT = {"concat_after": False, "use_output_layer": True, "input_layer": "embed"}

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        self_attention_dropout_rate: float = 0.0,
        src_attention_dropout_rate: float = 0.0,
        normalize_before: bool = True,
    ) -> None:
        super().__init__()
        dim = encoder_output_size
        self.embed = nn.Sequential(nn.Embedding(vocab_size, dim), PositionalEncoding(dim, positional_dropout_rate))
        self.decoders = nn.ModuleList(
            TransformerDecoderLayer(
                dim,
                attention_heads,
                linear_units,
                dropout_rate,
                self_attention_dropout_rate,
                src_attention_dropout_rate,
                normalize_before=normalize_before,
            )
            for _ in range(num_blocks)
        )
        self.after_norm = LayerNorm(dim) if normalize_before else None
        self.output_layer = nn.Linear(dim, vocab_size)

    def forward(self, encoder_out: Tensor, encoder_out_lens: Tensor, tokens: Tensor, token_lens: Tensor) -> Tensor:
        """Teacher forcing. ``encoder_out`` (B, T, D), ``tokens`` (B, U) beginning with sos -> logits (B, U, V)."""
        memory_mask = length_mask(encoder_out_lens, encoder_out.size(1)).unsqueeze(1)
        mask = length_mask(token_lens, tokens.size(1)).unsqueeze(1) & causal_mask(tokens.size(1), tokens.device)
        x = self.embed(tokens)
        for layer in self.decoders:
            x = layer(x, mask, encoder_out, memory_mask)
        return self._logits(x)

    def memory(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> DecoderMemory:
        """What ``step`` needs of the encoder frames, computed once per utterance."""
        layers = [layer.src_attn.project_keys(encoder_out) for layer in self.decoders]
        return DecoderMemory(layers, length_mask(encoder_out_lens, encoder_out.size(1)))

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State before the first token of one hypothesis per utterance: keys and values (B, 1, 0, D) per layer."""
        return [self.decoders[0].self_attn.no_past(batch, device)] * (2 * len(self.decoders))

    def step(
        self, tokens: Tensor, state: list[Tensor], memory: DecoderMemory, position: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities (B, K, V) after the token at ``position`` of each hypothesis, ``tokens`` (B, K); state."""
        x = self.embed[1](self.embed[0](tokens).flatten(0, 1).unsqueeze(1), start=position).view(*tokens.shape, -1)
        new_state: list[Tensor] = []
        for number, (layer, frames) in enumerate(zip(self.decoders, memory.layers, strict=True)):
            x, longer = layer.step(x, (state[2 * number], state[2 * number + 1]), frames, memory.mask)
            new_state += longer
        return torch.log_softmax(self._logits(x), dim=-1), new_state

    def _logits(self, x: Tensor) -> Tensor:
        return self.output_layer(x if self.after_norm is None else self.after_norm(x))


class ParaformerSANDecoder(TransformerDecoder):
    """Decoder of the AISHELL recipe (``paraformer_decoder_san``): without causality, fed with acoustic embeddings.

    FunASR: ParaformerDecoderSAN. ``embed`` is only for the training sampler.
    """

    INERT = TransformerDecoder.INERT | {"embeds_id": ...}  # the layer whose output was compared with BERT's

    def forward(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        """``encoder_out`` (B, T, D), ``embeds`` (B, U, D) and their lengths -> logits (B, U, V)."""
        token_mask = length_mask(token_lens, embeds.size(1))[:, None, :]
        memory_mask = length_mask(encoder_out_lens, encoder_out.size(1))[:, None, :]
        x = embeds
        for layer in self.decoders:
            x = layer(x, token_mask, encoder_out, memory_mask)
        return self._logits(x)
