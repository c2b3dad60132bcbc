"""The data2vec encoder of fine-tuned recognizers (Baevski et al. 2022; FunASR: Data2VecEncoder, fairseq's key names).

Only what recognition and fine-tuning need: no masking, no teacher. Keys that pre-training alone uses (``mask_emb``,
``final_proj``) are kept, because checkpoints hold them.
"""

from __future__ import annotations

import ast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.layers import head_width, padding_mask
from funrecipe.models.sanm import attend

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}
PRETRAINING_KEYS = (
    *("mask_prob", "mask_length", "mask_selection", "mask_other", "no_mask_overlap", "mask_min_space"),
    *("require_same_masks", "mask_dropout", "mask_channel_length", "mask_channel_prob", "mask_channel_before"),
    *("mask_channel_selection", "mask_channel_other", "no_mask_channel_overlap", "mask_channel_min_space"),
    *("average_top_k_layers", "layer_norm_target_layer", "instance_norm_target_layer", "instance_norm_targets"),
    *("layer_norm_targets", "batch_norm_target_layer", "group_norm_target_layer", "ema_decay", "ema_end_decay"),
    *("ema_anneal_end_step", "ema_transformer_only", "ema_layers_only", "min_target_var", "min_pred_var"),
    *("loss_beta", "loss_scale"),
)


def conv_layers(description: str) -> list[tuple[int, int, int]]:
    """``[(channels, kernel, stride)] * 2 + [...]`` as a configuration writes it, read without running it.

    Raises:
        ValueError: anything but lists of three integers, ``+`` and ``*``.
    """

    def read(node: ast.expr) -> list[tuple[int, int, int]]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return read(node.left) + read(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.right, ast.Constant):
            return read(node.left) * int(str(node.right.value))
        layers = ast.literal_eval(node)
        return [(int(size), int(kernel), int(stride)) for size, kernel, stride in layers]

    try:
        return read(ast.parse(description.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(f"data2vec encoder: cannot read conv_feature_layers {description!r}") from None


class TimeLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, D, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class FeatureExtractor(nn.Module):
    """Strided convolutions, each with LayerNorm and GELU; keys ``conv_layers.N.0.weight``, ``conv_layers.N.2.1.*``."""

    def __init__(self, layers: list[tuple[int, int, int]], input_size: int) -> None:
        super().__init__()
        self.strides = [(kernel, stride) for _, kernel, stride in layers]
        self.conv_layers = nn.ModuleList()
        for size, kernel, stride in layers:
            convolution = nn.Conv1d(input_size, size, kernel, stride, bias=False)
            norm = nn.Sequential(nn.Identity(), TimeLayerNorm(size), nn.Identity())
            self.conv_layers.append(nn.Sequential(convolution, nn.Identity(), norm, nn.GELU()))
            input_size = size

    def forward(self, feats: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) -> (B, T', D), lengths."""
        x = feats.transpose(1, 2)
        for layer, (kernel, stride) in zip(self.conv_layers, self.strides):
            lens = (lens - kernel).div(stride, rounding_mode="floor") + 1
            x = layer(F.pad(x, (0, max(0, kernel - x.size(2)))))
        return x.transpose(1, 2), lens.clamp(min=0)


class PositionBlock(nn.Sequential):
    """One convolution of the position encoder, (B, D, T) -> (B, D, T); key ``0``."""

    def __init__(self, size: int, kernel: int, groups: int) -> None:
        convolution = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=groups)
        super().__init__(convolution, TimeLayerNorm(size, elementwise_affine=False), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, activation = self
        return activation(norm(convolution(x)[..., : x.size(2)]))  # an even kernel gives one step too many


class SelfAttention(nn.Module):
    """Keys ``{q,k,v,out}_proj``."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        head_width(size, heads)
        self.heads, self.dropout = heads, dropout
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(size, size) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, mask, dropout))


class TransformerLayer(nn.Module):
    """fairseq's sentence encoder layer, norm first or last."""

    def __init__(
        self,
        size: int,
        units: int,
        heads: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
        norm_first: bool,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"data2vec encoder: unknown activation_fn '{activation}' ({', '.join(ACTIVATIONS)})")
        self.self_attn = SelfAttention(size, heads, attention_dropout)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.fc1, self.fc2 = nn.Linear(size, units), nn.Linear(units, size)
        self.dropout, self.activation_dropout = nn.Dropout(dropout), nn.Dropout(activation_dropout)
        self.activation, self.norm_first = ACTIVATIONS[activation], norm_first

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), mask))
            return x + self.dropout(self._transform(self.final_layer_norm(x)))
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, mask)))
        return self.final_layer_norm(x + self.dropout(self._transform(x)))

    def _transform(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_dropout(self.activation(self.fc1(x))))


class ContextEncoder(nn.Module):
    """Position convolutions and transformer layers; keys ``pos_conv.N.0``, ``layers.N``, ``layer_norm``."""

    pad_invariant = True

    def __init__(
        self, layers: nn.ModuleList, size: int, positions: nn.Sequential, dropout: float, layerdrop: float
    ) -> None:
        super().__init__()
        self.pos_conv, self.layers, self.layer_norm = positions, layers, nn.LayerNorm(size)
        self.dropout, self.layerdrop = nn.Dropout(dropout), layerdrop

    def forward(self, x: Tensor, lens: Tensor) -> Tensor:
        """(B, T, D), lengths -> (B, T, D), zero past each length."""
        mask = padding_mask(lens, x.size(1))
        if mask is not None:
            x = x * mask[:, :, None]
        positions = x.transpose(1, 2)
        for block in self.pos_conv:
            positions = block(positions)
            if mask is not None and self.pad_invariant:
                positions = positions * mask[:, None, :]
        x = x + positions.transpose(1, 2)
        norm_first = self.layers[0].norm_first
        x = self.dropout(x if norm_first else self.layer_norm(x))
        attention_mask = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            if not self.training or self.layerdrop == 0.0 or torch.rand(()).item() > self.layerdrop:
                x = layer(x, attention_mask)
        x = self.layer_norm(x) if norm_first else x
        return x if mask is None or not self.pad_invariant else x * mask[:, :, None]


class Data2VecEncoder(nn.Module):
    """Features -> encoder output. Arguments carry the names of ``encoder_conf``.

    Attributes:
        pad_invariant: as in :class:`funrecipe.models.sanm.SANMEncoder`.
    """

    INERT = dict.fromkeys(PRETRAINING_KEYS, ...) | {
        "extractor_mode": "layer_norm",
        "layer_type": "transformer",
        "max_positions": ...,
        "required_seq_len_multiple": ...,
        "feature_grad_mult": ...,
        "dropout_features": ...,
    }

    def __init__(
        self,
        input_size: int,
        conv_feature_layers: str = "[(512,2,2)] + [(512,2,2)]",
        layer_norm_first: bool = False,
        encoder_layers: int = 12,
        encoder_embed_dim: int = 768,
        encoder_ffn_embed_dim: int = 3072,
        encoder_attention_heads: int = 12,
        activation_fn: str = "gelu",
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.0,
        encoder_layerdrop: float = 0.0,
        dropout_input: float = 0.0,
        conv_pos: int = 128,
        conv_pos_groups: int = 16,
        pos_conv_depth: int = 1,
    ) -> None:
        super().__init__()
        if pos_conv_depth < 2:
            raise ValueError("data2vec encoder: pos_conv_depth 1 (weight-normalized) is not supported, only 2 and more")
        size = self.output_size = encoder_embed_dim
        extractor = conv_layers(conv_feature_layers)
        extracted = extractor[-1][0]
        self.mask_emb = nn.Parameter(torch.rand(size))
        self.feature_extractor = FeatureExtractor(extractor, input_size)
        kernel = max(3, conv_pos // pos_conv_depth)
        positions = nn.Sequential(*(PositionBlock(size, kernel, conv_pos_groups) for _ in range(pos_conv_depth)))
        layers = nn.ModuleList(
            TransformerLayer(
                size,
                encoder_ffn_embed_dim,
                encoder_attention_heads,
                activation_fn,
                dropout,
                attention_dropout,
                activation_dropout,
                layer_norm_first,
            )
            for _ in range(encoder_layers)
        )
        self.encoder = ContextEncoder(layers, size, positions, dropout, encoder_layerdrop)
        self.post_extract_proj = nn.Linear(extracted, size)
        self.layer_norm = nn.LayerNorm(extracted)
        self.final_proj = nn.Linear(size, size)
        self.dropout_input = nn.Dropout(dropout_input)

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', output_size), lengths; zero past each."""
        x, lens = self.feature_extractor(feats, feat_lens)
        x = self.dropout_input(self.post_extract_proj(self.layer_norm(x)))
        return self.encoder(x, lens), lens
