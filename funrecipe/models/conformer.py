"""Conformer encoder (https://arxiv.org/abs/2005.08100) with FunASR's state-dict keys."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from funrecipe.models.attention import MultiHeadedAttention, RelativeAttention
from funrecipe.models.input_layers import (
    LEGACY_TABLE_POSITIONS,
    PositionalEncoding,
    RelativePositionalEncoding,
    ScaledPositionalEncoding,
    build_input_layer,
)
from funrecipe.models.layers import FeedForward, FrameBatchNorm, LayerNorm, PointwiseConv, activation, length_mask
from funrecipe.models.transformer import ResidualLayer, TransformerEncoder


class ConvolutionModule(nn.Module):
    """Pointwise, gated, depthwise over time, batch norm, pointwise. FunASR: ConvolutionModule."""

    def __init__(self, dim: int, kernel: int, act: str) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"cnn_module_kernel must be odd, got {kernel}")
        self.pointwise_conv1 = PointwiseConv(dim, 2 * dim)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=(kernel - 1) // 2, groups=dim)
        self.norm = FrameBatchNorm(dim)
        self.pointwise_conv2 = PointwiseConv(dim, dim)
        self.activation = activation(act)

    def forward(self, x: Tensor, frame_mask: Tensor | None) -> Tensor:
        """``x`` (B, T, D), ``frame_mask`` (B, T) bool or None -> (B, T, D). Masked frames count as zeros."""
        x = F.glu(self.pointwise_conv1(x), dim=-1)
        if frame_mask is not None:
            x = x.masked_fill(~frame_mask.unsqueeze(-1), 0.0)
        x = self.activation(self.norm(self.depthwise_conv(x.transpose(1, 2))))
        return self.pointwise_conv2(x.transpose(1, 2))


class ConformerLayer(ResidualLayer):
    """Half-step feed-forward (macaron), self-attention, convolution, feed-forward. FunASR: EncoderLayer."""

    def __init__(
        self,
        dim: int,
        self_attn: MultiHeadedAttention,
        *,
        linear_units: int,
        dropout: float,
        act: str,
        macaron: bool,
        conv_kernel: int | None,
        normalize_before: bool,
    ) -> None:
        super().__init__(dropout, normalize_before=normalize_before)
        self.self_attn = self_attn
        self.feed_forward = FeedForward(dim, linear_units, dropout, act)
        self.norm_ff = LayerNorm(dim)
        self.norm_mha = LayerNorm(dim)
        self.feed_forward_macaron = FeedForward(dim, linear_units, dropout, act) if macaron else None
        if macaron:
            self.norm_ff_macaron = LayerNorm(dim)
        self.conv_module = ConvolutionModule(dim, conv_kernel, act) if conv_kernel else None
        if conv_kernel:
            self.norm_conv = LayerNorm(dim)
            self.norm_final = LayerNorm(dim)
        self.ff_scale = 0.5 if macaron else 1.0

    def forward(
        self, x: Tensor, mask: Tensor, table: Tensor | None, shift_lens: Tensor | None, conv_mask: Tensor | None
    ) -> Tensor:
        """``x`` (B, T, D), ``mask`` (B, 1, T); the others as in RelativeAttention and ConvolutionModule."""

        def attend(y: Tensor) -> Tensor:
            return self.self_attn(y, y, mask) if table is None else self.self_attn(y, y, mask, table, shift_lens)

        if self.feed_forward_macaron is not None:
            x = self._residual(x, self.norm_ff_macaron, lambda y: self.ff_scale * self.feed_forward_macaron(y))
        x = self._residual(x, self.norm_mha, attend)
        if self.conv_module is not None:
            x = self._residual(x, self.norm_conv, lambda y: self.conv_module(y, conv_mask))
        x = self._residual(x, self.norm_ff, lambda y: self.ff_scale * self.feed_forward(y))
        return x if self.conv_module is None else self.norm_final(x)


class ConformerEncoder(nn.Module):
    """FunASR: ConformerEncoder; arguments are the keys of ``encoder_conf``.

    Attributes:
        pad_invariant: True (default): an utterance gets the same frames alone and in a batch. False does what FunASR
            does in a batch (padding leaks through the convolutions, lengths and legacy positions), for comparisons.
    """

    INERT = TransformerEncoder.INERT | {"zero_triu": False, "stochastic_depth_rate": 0.0}
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
        macaron_style: bool = False,
        rel_pos_type: str = "legacy",
        pos_enc_layer_type: str = "rel_pos",
        selfattention_layer_type: str = "rel_selfattn",
        activation_type: str = "swish",
        use_cnn_module: bool = True,
        cnn_module_kernel: int = 31,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        position, attention = self._positions(
            rel_pos_type, pos_enc_layer_type, selfattention_layer_type, output_size, positional_dropout_rate
        )
        self.embed = build_input_layer(input_layer, input_size, output_size, dropout_rate, position)
        self.encoders = nn.ModuleList(
            ConformerLayer(
                output_size,
                attention(attention_heads, output_size, attention_dropout_rate),
                linear_units=linear_units,
                dropout=dropout_rate,
                act=activation_type,
                macaron=macaron_style,
                conv_kernel=cnn_module_kernel if use_cnn_module else None,
                normalize_before=normalize_before,
            )
            for _ in range(num_blocks)
        )
        self.after_norm = LayerNorm(output_size) if normalize_before else None
        self.legacy = getattr(position, "legacy", False)

    @staticmethod
    def _positions(
        rel_pos_type: str, pos_type: str, attention_type: str, dim: int, dropout: float
    ) -> tuple[nn.Module, Any]:
        """The position module and the attention class that go together; ValueError if they do not."""
        if rel_pos_type not in ("legacy", "latest"):
            raise ValueError(f"conformer encoder: unknown rel_pos_type '{rel_pos_type}' (legacy or latest)")
        relative = pos_type in ("rel_pos", "legacy_rel_pos")
        if relative != (attention_type in ("rel_selfattn", "legacy_rel_selfattn")):
            raise ValueError(f"conformer encoder: pos_enc_layer_type '{pos_type}' does not go with '{attention_type}'")
        if relative:
            legacy = rel_pos_type == "legacy" or pos_type == "legacy_rel_pos"
            position = RelativePositionalEncoding(dim, dropout, legacy=legacy)
            return position, lambda heads, width, rate: RelativeAttention(heads, width, rate, legacy=legacy)
        plain = {"abs_pos": PositionalEncoding, "scaled_abs_pos": ScaledPositionalEncoding}
        if pos_type not in plain:
            raise ValueError(f"conformer encoder: unknown pos_enc_layer_type '{pos_type}'")
        return plain[pos_type](dim, dropout), MultiHeadedAttention

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,). Padding is zero if pad_invariant."""
        embedded = self.embed(feats, feat_lens, self.pad_invariant)
        x, lens = embedded.x, embedded.lens
        is_long = self.legacy and not torch.jit.is_tracing() and x.size(1) > LEGACY_TABLE_POSITIONS
        if self.pad_invariant and len(x) > 1 and is_long:
            # beyond its table the legacy encoding counts from the longest utterance, so each is computed by itself
            alone = [self(feats[i : i + 1, :n], feat_lens[i : i + 1])[0][0] for i, n in enumerate(feat_lens.tolist())]
            return pad_sequence(alone, batch_first=True), lens
        frame_mask = length_mask(lens, x.size(1))
        shift_lens, conv_mask = (lens, frame_mask) if self.pad_invariant else (None, None)
        for layer in self.encoders:
            x = layer(x, frame_mask.unsqueeze(1), embedded.table, shift_lens, conv_mask)
        if self.after_norm is not None:
            x = self.after_norm(x)
        if self.pad_invariant:
            x = x.masked_fill(~frame_mask.unsqueeze(-1), 0.0)
        return x, lens
