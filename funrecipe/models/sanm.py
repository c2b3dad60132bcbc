"""SAN-M: self-attention with an FSMN memory, the encoder and decoder of the Paraformer family.

Source: Gao et al. 2020, "SAN-M: Memory Equipped Self-Attention for End-to-End Speech Recognition";
state-dict keys and arithmetic of ``funasr.models.{encoder.sanm_encoder,decoder.sanm_decoder}`` (0.8.8).

Every module takes masks that may be None (nothing is padded). A mask is bool, True = used. Padded frames never
change a valid frame: attention does not see them, memories read zeros there, outputs are zero there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.layers import (
    LAYER_NORM_EPS,
    FeedForward,
    LayerNorm,
    depthwise_conv,
    head_width,
    padding_mask,
    sinusoidal_positions,
)

# Settings that FunASR's classes take and that must have this value here; ``...``: read there and without effect.
INERT_SETTINGS = {
    "normalize_before": True,
    "concat_after": False,
    "positional_dropout_rate": ...,
    "tf2torch_tensor_name_prefix_torch": ...,
    "tf2torch_tensor_name_prefix_tf": ...,
    "lora_list": None,
    "lora_rank": ...,
    "lora_alpha": ...,
    "lora_dropout": ...,
}


class Memory(nn.Conv1d):
    """FSMN memory: depthwise convolution over time plus its own input.

    ``kernel_size - 1`` zeros are put around the input: ``(kernel_size - 1) // 2 + shift`` before it, the rest after.
    Where more than all of them come before it, the memory is one of past frames alone.
    The only state-dict key is ``weight`` (D, 1, kernel_size).
    """

    def __init__(self, size: int, kernel_size: int, shift: int = 0) -> None:
        super().__init__(size, size, kernel_size, groups=size, bias=False)
        left = (kernel_size - 1) // 2 + max(shift, 0)
        self.left_right = (left, kernel_size - 1 - left)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x`` (B, T, D), ``mask`` (B, T) -> (B, T, D); the caller masks the result."""
        if x.size(1) == 0:  # an utterance without tokens; a convolution needs at least one step
            return x
        if mask is not None:
            x = x * mask[:, :, None]
        left, right = self.left_right
        if right < 0:
            return depthwise_conv(x, self.weight, (left, 0))[:, : x.size(1)] + x
        return depthwise_conv(x, self.weight, (left, right)) + x


class SANMSelfAttention(nn.Module):
    """Multi-head self-attention and the memory of the values; the layers before and after are called by their owner."""

    def __init__(
        self, heads: int, input_size: int, size: int, dropout_rate: float, kernel_size: int, shift: int = 0
    ) -> None:
        super().__init__()
        head_width(size, heads)
        self.heads, self.dropout_rate = heads, dropout_rate
        self.memory_dropout = nn.Dropout(dropout_rate)
        self.linear_out = nn.Linear(size, size)
        self.linear_q_k_v = nn.Linear(input_size, 3 * size)
        self.fsmn_block = Memory(size, kernel_size, shift)

    def forward(
        self, projected: Tensor, frame_mask: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``projected`` (B, T, 3 size) by ``linear_q_k_v`` -> what attention gives, and the memory: (B, T, size).

        ``frame_mask`` (B, T) is for the memory, ``attention_mask`` (broadcast to (B, H, T, T)) for attention. Without
        ``attention_mask`` every frame attends to all frames of ``frame_mask``.
        """
        if attention_mask is None and frame_mask is not None:
            attention_mask = frame_mask[:, None, None, :]
        dropout = self.dropout_rate if self.training else 0.0
        query, key, value = projected.chunk(3, dim=-1)
        memory = self.memory_dropout(self.fsmn_block(value, frame_mask))
        if frame_mask is not None:
            memory = memory * frame_mask[:, :, None]
        return attend(query, key, value, self.heads, attention_mask, dropout), memory

    def of_several(self, projected: Tensor, lens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What utterances give, one after another: (sum of ``lens``, 3 size) -> twice (sum of ``lens``, size)."""
        gap = projected.new_zeros(max(self.fsmn_block.left_right), projected.size(1) // 3)
        values = projected.chunk(3, dim=-1)[2].split(lens)
        remembered = self.fsmn_block(torch.cat([piece for value in values for piece in (value, gap)])[None])[0]
        memory = torch.cat(remembered.split([rows for length in lens for rows in (length, len(gap))])[::2])
        # on memory aligned as it is alone, on which the bits of some kernels depend
        apart = [part if part.data_ptr() % 64 == 0 else part.clone() for part in projected[None].split(lens, dim=1)]
        return torch.cat([attend(*part.chunk(3, dim=-1), self.heads, None)[0] for part in apart]), memory


class CrossAttention(nn.Module):
    """Decoder attention over the encoder output; keys and values in one projection."""

    def __init__(self, heads: int, size: int, dropout_rate: float, encoder_size: int | None = None) -> None:
        super().__init__()
        head_width(size, heads)
        self.heads, self.dropout_rate = heads, dropout_rate
        self.linear_q = nn.Linear(size, size)
        self.linear_k_v = nn.Linear(encoder_size or size, 2 * size)
        self.linear_out = nn.Linear(size, size)

    def forward(self, x: Tensor, encoder_out: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """``x`` (B, U, D), ``encoder_out`` (B, T, D'), mask broadcastable to (B, H, U, T) -> (B, U, D)."""
        key, value = self.linear_k_v(encoder_out).chunk(2, dim=-1)
        dropout = self.dropout_rate if self.training else 0.0
        return self.linear_out(attend(self.linear_q(x), key, value, self.heads, attention_mask, dropout))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of unsplit (B, U, D), (B, T, D), (B, T, D) -> (B, U, D)."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
    return F.scaled_dot_product_attention(*split, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


class SANMEncoderLayer(nn.Module):
    """Pre-norm block; no residual around attention when the sizes differ (the first block)."""

    def __init__(
        self,
        self_attn: SANMSelfAttention,
        input_size: int,
        size: int,
        units: int,
        dropout_rate: float,
        norm_eps: float = LAYER_NORM_EPS,
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = FeedForward(size, units, dropout_rate)
        self.norm1 = LayerNorm(input_size, norm_eps)
        self.norm2 = LayerNorm(size, norm_eps)
        self.dropout = nn.Dropout(dropout_rate)
        self.residual = input_size == size

    def forward(self, x: Tensor, frame_mask: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        return self.finish(x, *self.self_attn(self.project(x), frame_mask, attention_mask))

    def side_by_side(self, x: Tensor, lens: Sequence[int]) -> Tensor:
        """What utterances give, one after another: (sum of ``lens``, input_size) -> (sum of ``lens``, size)."""
        return self.finish(x, *self.self_attn.of_several(self.project(x), lens))

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values (..., 3 size) of ``x`` (..., input_size)."""
        return self.self_attn.linear_q_k_v(self.norm1(x))

    def finish(self, x: Tensor, attended: Tensor, memory: Tensor) -> Tensor:
        """What follows ``self_attn``, whose results (..., size) it takes: ``x`` (..., input_size) -> (..., size)."""
        remembered = self.dropout(self.self_attn.linear_out(attended) + memory)
        x = x + remembered if self.residual else remembered
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class SANMEncoder(nn.Module):
    """Features -> encoder output. Arguments carry the names of ``encoder_conf`` (``sanm_shfit`` is FunASR's spelling).

    Keys: ``encoders0.0`` (input_size -> output_size), ``encoders.N`` (the other ``num_blocks - 1``), ``after_norm``.

    Attributes:
        pad_invariant: True (default): frames past the length are zero. False: they have the values that FunASR leaves
            there and lets leak into the predictor and the last token of padded rows; for comparisons only.
        norm_eps: of every LayerNorm.
    """

    pad_invariant = True
    norm_eps = LAYER_NORM_EPS

    INERT = INERT_SETTINGS | {
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "selfattention_layer_type": "sanm",
        "positionwise_layer_type": "linear",
        "positionwise_conv_kernel_size": 1,
        "padding_idx": -1,
        "interctc_layer_idx": [],
        "interctc_use_conditioning": False,
    }

    def __init__(
        self,
        input_size: int,
        output_size: int = 256,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        kernel_size: int = 11,
        sanm_shfit: int = 0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, output_size
        self._attention = (attention_dropout_rate, kernel_size, sanm_shfit)
        self._heads, self._feed_forward = attention_heads, (linear_units, dropout_rate)
        self.encoders0 = nn.ModuleList([self.new_block(input_size)])
        self.encoders = nn.ModuleList([self.new_block(output_size) for _ in range(num_blocks - 1)])
        self.after_norm = LayerNorm(output_size, self.norm_eps)

    def new_block(self, size_in: int) -> SANMEncoderLayer:
        """A block (B, T, size_in) -> (B, T, output_size)."""
        attention = SANMSelfAttention(self._heads, size_in, self.output_size, *self._attention)
        return SANMEncoderLayer(attention, size_in, self.output_size, *self._feed_forward, self.norm_eps)

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, input_size), ``feat_lens`` (B,) -> (B, T, output_size), lengths; zero past each."""
        mask = padding_mask(feat_lens, feats.size(1))
        encoder_out = self.run_blocks(self.add_positions(feats), mask)
        if mask is not None and self.pad_invariant:
            encoder_out = encoder_out * mask[:, :, None]
        return encoder_out, feat_lens

    def add_positions(self, feats: Tensor, start: int = 1) -> Tensor:
        """Scale by sqrt(output_size) (not input_size) and add sinusoidal positions, counted from ``start``."""
        positions = sinusoidal_positions(feats.size(1), feats.size(2), start=start, device=feats.device)
        return feats * self.output_size**0.5 + positions.to(feats.dtype)

    def run_blocks(self, x: Tensor, frame_mask: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """All blocks and the final norm; masks as in :class:`SANMSelfAttention`."""
        for layer in (*self.encoders0, *self.encoders):
            x = layer(x, frame_mask, attention_mask)
        return self.after_norm(x)


class DecoderMemory(nn.Module):
    """The decoder's "self-attention": only a memory. Key ``fsmn_block.weight``."""

    def __init__(self, size: int, dropout_rate: float, kernel_size: int, shift: int = 0) -> None:
        super().__init__()
        self.fsmn_block = Memory(size, kernel_size, shift)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor, token_mask: Tensor | None = None) -> Tensor:
        memory = self.dropout(self.fsmn_block(x, token_mask))
        return memory if token_mask is None else memory * token_mask[:, :, None]


class NormedFeedForward(nn.Module):
    """``w_2(norm(dropout(relu(w_1 x))))``, ``w_2`` without bias (``PositionwiseFeedForwardDecoderSANM``)."""

    def __init__(self, size: int, hidden_units: int, dropout_rate: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, hidden_units)
        self.w_2 = nn.Linear(hidden_units, size, bias=False)
        self.norm = LayerNorm(hidden_units)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.norm(self.dropout(torch.relu(self.w_1(x)))))


class SANMDecoderLayer(nn.Module):
    """Feed-forward first (no residual of its own), then memory and cross-attention, each optional."""

    def __init__(
        self,
        size: int,
        units: int,
        dropout_rate: float,
        self_attn: DecoderMemory | None = None,
        src_attn: CrossAttention | None = None,
    ) -> None:
        super().__init__()
        self.self_attn, self.src_attn = self_attn, src_attn
        self.feed_forward = NormedFeedForward(size, units, dropout_rate)
        self.norm1 = LayerNorm(size)
        if self_attn is not None:
            self.norm2 = LayerNorm(size)
        if src_attn is not None:
            self.norm3 = LayerNorm(size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(
        self, x: Tensor, token_mask: Tensor | None, encoder_out: Tensor, attention_mask: Tensor | None
    ) -> Tensor:
        """``x`` (B, U, D), ``token_mask`` (B, U), ``encoder_out`` (B, T, D'), mask (B, 1, U or 1, T)."""
        x = self.remember(x, token_mask)
        if self.src_attn is None:
            return x
        return x + self.dropout(self.src_attn(self.norm3(x), encoder_out, attention_mask))

    def remember(self, x: Tensor, token_mask: Tensor | None) -> Tensor:
        """The layer up to its cross-attention: feed-forward, then memory with a residual around both."""
        transformed = self.transform(x)
        if self.self_attn is None:
            return transformed
        return x + self.dropout(self.self_attn(transformed, token_mask))

    def transform(self, x: Tensor) -> Tensor:
        """What the memory reads: ``x`` (B, U, D) -> (B, U, D)."""
        transformed = self.feed_forward(self.norm1(x))
        return transformed if self.self_attn is None else self.norm2(transformed)


class ParaformerSANMDecoder(nn.Module):
    """Parallel decoder: acoustic embeddings + encoder output -> logits of all tokens at once.

    Arguments carry the names of ``decoder_conf``; ``vocab_size`` None: hidden states only, without ``embed`` and
    ``output_layer``. Keys: ``embed.0`` (for the training sampler only), ``decoders.N``
    (``att_layer_num`` layers), ``decoders2.N`` (the rest of ``num_blocks``, memory only), ``decoders3.0``.
    """

    INERT = INERT_SETTINGS | {
        "input_layer": "embed",
        "use_output_layer": True,
        "pos_enc_class": ...,
        "chunk_multiply_factor": ...,
    }

    def __init__(
        self,
        vocab_size: int | None,
        encoder_output_size: int,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        self_attention_dropout_rate: float = 0.0,
        src_attention_dropout_rate: float = 0.0,
        att_layer_num: int = 6,
        kernel_size: int = 21,
        sanm_shfit: int | None = 0,
    ) -> None:
        super().__init__()
        size = encoder_output_size
        shift = (kernel_size - 1) // 2 if sanm_shfit is None else sanm_shfit

        def block(*, memory_shift: int, attention: bool) -> SANMDecoderLayer:
            memory = DecoderMemory(size, self_attention_dropout_rate, kernel_size, memory_shift)
            cross = CrossAttention(attention_heads, size, src_attention_dropout_rate) if attention else None
            return SANMDecoderLayer(size, linear_units, dropout_rate, memory, cross)

        if vocab_size is not None:
            self.embed = nn.Sequential(nn.Embedding(vocab_size, size))
        self.decoders = nn.ModuleList([block(memory_shift=shift, attention=True) for _ in range(att_layer_num)])
        if num_blocks > att_layer_num:
            extra = num_blocks - att_layer_num
            self.decoders2 = nn.ModuleList([block(memory_shift=0, attention=False) for _ in range(extra)])
        self.decoders3 = nn.ModuleList([SANMDecoderLayer(size, linear_units, dropout_rate)])
        self.after_norm = LayerNorm(size)
        if vocab_size is not None:
            self.output_layer = nn.Linear(size, vocab_size)

    def forward(
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor,
        embeds: Tensor,
        token_lens: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, U, V).

        Args:
            encoder_out: (B, T, D); encoder_out_lens: (B,).
            embeds: (B, U, D) acoustic embeddings; token_lens: (B,).
            attention_mask: (B, U, T) in place of the lengths (chunk-wise attention), or None.
        """
        return self.output_layer(self.hidden(encoder_out, encoder_out_lens, embeds, token_lens, attention_mask))

    def hidden(
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor | None,
        embeds: Tensor,
        token_lens: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """States (B, U, D) after the last norm; arguments as in :meth:`forward`; lengths None: no padding."""
        token_mask = padding_mask(token_lens, embeds.size(1))
        attention_mask = cross_attention_mask(encoder_out, encoder_out_lens, attention_mask)
        x = embeds
        for layer in self.decoders:
            x = layer(x, token_mask, encoder_out, attention_mask)
        return self.last_layers(x, token_mask, encoder_out)

    def last_layers(self, x: Tensor, token_mask: Tensor | None, encoder_out: Tensor) -> Tensor:
        """What follows the layers with attention: ``decoders2``, ``decoders3`` and the norm."""
        for layer in (*getattr(self, "decoders2", ()), *self.decoders3):
            x = layer(x, token_mask, encoder_out, None)
        return self.after_norm(x)


def cross_attention_mask(encoder_out: Tensor, lens: Tensor | None, mask: Tensor | None = None) -> Tensor | None:
    """``mask`` (B, U, T), or else that of ``lens`` (B,), as attention takes it: (B, 1, U or 1, T) or None."""
    if mask is not None:
        return mask[:, None]
    frames = None if lens is None else padding_mask(lens, encoder_out.size(1))
    return None if frames is None else frames[:, None, None, :]
