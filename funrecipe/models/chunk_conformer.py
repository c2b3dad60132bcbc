"""Conformer encoder that runs on whole utterances, with chunk masks, or chunk by chunk with caches.

FunASR: ConformerChunkEncoder. Its convolutions are causal when it was trained for streaming, so a chunk needs only
what came before it: the keys and values of the last frames and the last inputs of each depthwise convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.attention import RelativeAttention
from funrecipe.models.input_layers import sinusoid
from funrecipe.models.layers import (
    FeedForward,
    FrameBatchNorm,
    LayerNorm,
    PointwiseConv,
    activation,
    asks_nothing,
    length_mask,
)

# subsampling_factor -> (kernel, time stride, time padding) of the two convolutions; over frequency the second one has
# the same stride (2 at least) and no padding
SUBSAMPLING = {
    1: [(3, 1, 1), (3, 1, 1)],
    2: [(3, 2, 1), (3, 1, 1)],
    4: [(3, 2, 1), (3, 2, 1)],
    6: [(3, 2, 1), (5, 3, 2)],
}
# FunASR pads a shorter last chunk to this many frames (plus the right context)
MIN_LAST_FRAMES = 8


class ChunkConvInput(nn.Module):
    """Two convolutions and a projection. FunASR: StreamingConvInput without its VGG form."""

    def __init__(self, input_size: int, dim: int, factor: int) -> None:
        super().__init__()
        if factor not in SUBSAMPLING:
            known = ", ".join(map(str, SUBSAMPLING))
            raise ValueError(f"chunk_conformer: subsampling_factor {factor} is not one of {known}")
        self.factor, self.shapes = factor, SUBSAMPLING[factor]
        layers: list[nn.Module] = []
        width = input_size
        for number, (kernel, stride, padding) in enumerate(self.shapes):
            # factor 1 still halves the frequencies; the second layer of factor 2 does not
            across = 2 if factor == 1 else stride
            layers += [nn.Conv2d(1 if number == 0 else dim, dim, kernel, (stride, across), (padding, 0)), nn.ReLU()]
            width = (width - kernel) // across + 1
        self.conv = nn.Sequential(*layers)
        self.output = nn.Linear(dim * width, dim)

    def out_lens(self, lens: Tensor) -> Tensor:
        """Number of outputs of each utterance; a partial group of frames gives one, too."""
        for _, stride, _ in self.shapes:
            lens = (lens + stride - 1).div(stride, rounding_mode="floor")
        return lens

    def forward(self, feats: Tensor, lens: Tensor, chunk_size: int | None) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``lens`` (B,) -> (B, T', D), (B,). With ``chunk_size`` no output sees another chunk."""
        feats = feats.masked_fill(~length_mask(lens, feats.size(1)).unsqueeze(-1), 0.0)
        batch, frames, width = feats.shape
        if chunk_size is None:
            x = self._whole(feats.unsqueeze(1), lens)
        else:
            step = chunk_size * self.factor
            chunks = -(-frames // step)
            feats = F.pad(feats, (0, 0, 0, chunks * step - frames))
            x = self.conv(feats.view(batch * chunks, 1, step, width))
        out_lens = self.out_lens(lens)
        x = x.transpose(1, 2).reshape(batch, -1, x.size(1) * x.size(3))
        return self.output(x if asks_nothing() else x[:, : int(out_lens.max())]), out_lens

    def _whole(self, x: Tensor, lens: Tensor) -> Tensor:
        """The convolutions with zeros past each utterance, as if it were alone."""
        for number, (_, stride, _) in enumerate(self.shapes):
            x = self.conv[2 * number + 1](self.conv[2 * number](x))
            lens = (lens + stride - 1).div(stride, rounding_mode="floor")
            x = x.masked_fill(~length_mask(lens, x.size(2))[:, None, :, None], 0.0)
        return x


class ChunkConvolution(nn.Module):
    """The Conformer's convolution module, causal if ``causal``. FunASR: CausalConvolution."""

    def __init__(self, dim: int, kernel: int, act: str, causal: bool, eps: float, momentum: float) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"cnn_module_kernel must be odd, got {kernel}")
        self.pointwise_conv1 = PointwiseConv(dim, 2 * dim)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.norm = FrameBatchNorm(dim, eps=eps, momentum=momentum)
        self.pointwise_conv2 = PointwiseConv(dim, dim)
        self.activation = activation(act)
        self.margins = (kernel - 1, 0) if causal else ((kernel - 1) // 2, (kernel - 1) // 2)

    def forward(self, x: Tensor, frame_mask: Tensor) -> Tensor:
        """``x`` (B, T, D), ``frame_mask`` (B, T) -> (B, T, D)."""
        x = self._gated(x).masked_fill(~frame_mask.unsqueeze(1), 0.0)
        return self._filtered(F.pad(x, self.margins))

    def step(self, x: Tensor, past: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """``x`` (B, T, D), ``past`` (B, D, kernel - 1) -> (B, T, D) and the past after the first ``keep`` frames."""
        x = torch.cat([past, self._gated(x)], dim=2)
        return self._filtered(x), x[:, :, keep : keep + past.size(2)]

    def _gated(self, x: Tensor) -> Tensor:
        return F.glu(self.pointwise_conv1(x), dim=-1).transpose(1, 2)

    def _filtered(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.depthwise_conv(x)))
        return self.pointwise_conv2(x.transpose(1, 2))


class ChunkConformerBlock(nn.Module):
    """Half-step feed-forward, relative attention, convolution, half-step feed-forward. FunASR: ChunkEncoderLayer."""

    def __init__(
        self,
        dim: int,
        attention: RelativeAttention,
        convolution: ChunkConvolution,
        linear_units: int,
        dropout: float,
        feed_forward_dropout: float,
        act: str,
    ) -> None:
        super().__init__()
        self.self_att, self.conv_mod = attention, convolution
        self.feed_forward = FeedForward(dim, linear_units, feed_forward_dropout, act)
        self.feed_forward_macaron = FeedForward(dim, linear_units, feed_forward_dropout, act)
        self.norm_feed_forward, self.norm_self_att = LayerNorm(dim), LayerNorm(dim)
        self.norm_macaron, self.norm_conv, self.norm_final = LayerNorm(dim), LayerNorm(dim), LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, frame_mask: Tensor, table: Tensor) -> Tensor:
        """``x`` (B, T, D), ``mask`` (B, 1 or T, T), ``frame_mask`` (B, T), ``table`` (2T - 1, D) -> (B, T, D)."""
        x = x + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_macaron(x)))
        y = self.norm_self_att(x)
        x = x + self.dropout(self.self_att(y, y, mask, table))
        x = x + self.dropout(self.conv_mod(self.norm_conv(x), frame_mask))
        x = x + 0.5 * self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        return self.norm_final(x)

    def step(self, x: Tensor, cache: BlockCache, mask: Tensor, positions: Tensor, keep: int) -> Tensor:
        """One chunk. ``mask`` (1, 1, left + T); ``keep``: frames of the chunk that later chunks may see."""
        x = x + 0.5 * self.feed_forward_macaron(self.norm_macaron(x))
        y = self.norm_self_att(x)
        keys, values = (
            torch.cat([old, new], dim=2)
            for old, new in zip((cache.keys, cache.values), self.self_att.project_keys(y), strict=True)
        )
        left = cache.keys.size(2)
        cache.keys, cache.values = keys[:, :, keep : keep + left], values[:, :, keep : keep + left]
        x = x + self.self_att.relate(y, keys, values, mask, positions)
        y, cache.convolution = self.conv_mod.step(self.norm_conv(x), cache.convolution, keep)
        x = x + y
        x = x + 0.5 * self.feed_forward(self.norm_feed_forward(x))
        return self.norm_final(x)


class ChunkConformerBlocks(nn.Module):
    """The stack and its last norm (keys ``blocks``, ``norm_blocks``). FunASR: MultiBlocks."""

    def __init__(self, blocks: list[ChunkConformerBlock], dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm_blocks = LayerNorm(dim)


@dataclass
class BlockCache:
    """``keys``, ``values`` (1, H, left, D / H) of the last frames; ``convolution`` (1, D, kernel - 1): gated inputs."""

    keys: Tensor
    values: Tensor
    convolution: Tensor


@dataclass
class EncoderCache:
    """What the encoder remembers of a stream.

    Attributes:
        blocks: caches of each block.
        left_context: frames (after subsampling) that attention looks back.
        seen_frames: frames so far.
        positions: frames of a chunk -> projected relative positions of each block, the same for every such chunk.
    """

    blocks: list[BlockCache]
    left_context: int
    seen_frames: int = 0
    positions: dict[int, list[Tensor]] = field(default_factory=dict)


class ChunkConformerEncoder(nn.Module):
    """FunASR: ConformerChunkEncoder; arguments are the keys of ``encoder_conf``.

    Its relative positions are of the newer kind and its input is not scaled by sqrt(D).
    """

    INERT = {
        "embed_vgg_like": False,
        "normalize_before": ...,
        "concat_after": ...,
        "positionwise_layer_type": ...,
        "positionwise_conv_kernel_size": ...,
        "macaron_style": ...,
        "rel_pos_type": ...,
        "pos_enc_layer_type": ...,
        "selfattention_layer_type": ...,
        "use_cnn_module": ...,
        "zero_triu": ...,
        "norm_type": ...,
        "simplified_att_score": False,
        "short_chunk_threshold": ...,
        "short_chunk_size": ...,
    }

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
        activation_type: str = "swish",
        cnn_module_kernel: int = 31,
        conv_mod_norm_eps: float = 1e-5,
        conv_mod_norm_momentum: float = 0.1,
        dynamic_chunk_training: bool = False,
        left_chunk_size: int = 0,
        time_reduction_factor: int = 1,
        unified_model_training: bool = False,
        default_chunk_size: int = 16,
        jitter_range: int = 4,
        subsampling_factor: int = 1,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.default_chunk_size, self.left_chunk_size = default_chunk_size, left_chunk_size
        self.jitter_range = jitter_range
        if time_reduction_factor < 1:
            raise ValueError(f"chunk_conformer: time_reduction_factor is {time_reduction_factor}, not 1 or more")
        self.time_reduction_factor, self.unified_model_training = time_reduction_factor, unified_model_training
        self.can_stream = unified_model_training or dynamic_chunk_training
        self.embed = ChunkConvInput(input_size, output_size, subsampling_factor)
        self.positional_dropout = nn.Dropout(positional_dropout_rate)
        self.encoders = ChunkConformerBlocks(
            [
                ChunkConformerBlock(
                    output_size,
                    RelativeAttention(attention_heads, output_size, attention_dropout_rate),
                    ChunkConvolution(
                        output_size,
                        cnn_module_kernel,
                        activation_type,
                        self.can_stream,
                        conv_mod_norm_eps,
                        conv_mod_norm_momentum,
                    ),
                    linear_units,
                    dropout_rate,
                    positional_dropout_rate,
                    activation_type,
                )
                for _ in range(num_blocks)
            ],
            output_size,
        )

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Whole utterances, full attention. ``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,)."""
        x, lens = self.embed(feats, feat_lens, None)
        return self._reduced(self._run(x, lens, None), lens)

    def forward_chunked(self, feats: Tensor, feat_lens: Tensor, chunk_size: int | None = None) -> tuple[Tensor, Tensor]:
        """Whole utterances under chunk masks, as a stream would see them (``simu_chunk_forward``)."""
        chunk_size = chunk_size or self.default_chunk_size
        x, lens = self.embed(feats, feat_lens, chunk_size)
        return self._reduced(self._run(x, lens, chunk_size), lens)

    def forward_unified(
        self, feats: Tensor, feat_lens: Tensor, chunk_size: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both views of unified training from one input layer: full attention, chunk masks, lengths."""
        chunk_size = chunk_size or self.default_chunk_size
        x, lens = self.embed(feats, feat_lens, chunk_size)
        whole, out_lens = self._reduced(self._run(x, lens, None), lens)
        return whole, self._reduced(self._run(x, lens, chunk_size), lens)[0], out_lens

    def start(self, left_context: int) -> EncoderCache:
        """An empty cache with ``left_context`` frames (after subsampling) for the attention."""
        like = self.embed.conv[0].weight
        blocks = []
        for block in self.encoders.blocks:
            nothing = like.new_zeros(1, block.self_att.heads, left_context, block.self_att.head_dim)
            silence = like.new_zeros(1, self.output_size, block.conv_mod.margins[0])
            blocks.append(BlockCache(nothing, nothing, silence))
        return EncoderCache(blocks, left_context)

    def step(self, feats: Tensor, cache: EncoderCache, right_context: int = 0) -> Tensor:
        """One chunk of a stream (``chunk_forward``): ``feats`` (1, T, F) -> (1, T', D).

        The last ``right_context`` outputs before time reduction are only context. Updates ``cache``.
        """
        x, lens = self.embed(feats, torch.tensor([feats.size(1)], device=feats.device), None)
        left, frames = cache.left_context, x.size(1)
        age = torch.arange(left - 1, -1, -1, device=x.device)
        mask = torch.cat([age < cache.seen_frames, torch.ones(frames, dtype=torch.bool, device=x.device)])[None, None]
        if frames not in cache.positions:
            table = sinusoid(torch.arange(frames + left - 1, -frames, -1, device=x.device), self.output_size)
            cache.positions[frames] = [block.self_att.project_positions(table) for block in self.encoders.blocks]
        keep = frames - right_context
        layers = zip(self.encoders.blocks, cache.blocks, cache.positions[frames], strict=True)
        for block, block_cache, positions in layers:
            x = block.step(x, block_cache, mask, positions, keep)
        cache.seen_frames += keep
        return self.encoders.norm_blocks(x)[:, : keep : self.time_reduction_factor]

    def chunk_mask(self, frames: int, chunk_size: int, device: torch.device) -> Tensor:
        """(T, T) bool: a frame sees its own chunk and ``left_chunk_size`` chunks before it (all if negative)."""
        chunk = torch.arange(frames, device=device) // chunk_size
        behind = chunk.unsqueeze(1) - chunk.unsqueeze(0)
        return (behind >= 0) & ((behind <= self.left_chunk_size) | (self.left_chunk_size < 0))

    def _run(self, x: Tensor, lens: Tensor, chunk_size: int | None) -> Tensor:
        """The blocks. ``x`` (B, T, D); ``chunk_size``: None for full attention."""
        frames = x.size(1)
        frame_mask = length_mask(lens, frames)
        mask = frame_mask.unsqueeze(1)
        if chunk_size is not None:
            mask = mask & self.chunk_mask(frames, chunk_size, x.device)
        table = sinusoid(torch.arange(frames - 1, -frames, -1, device=x.device), self.output_size).to(x.dtype)
        table = self.positional_dropout(table)
        for block in self.encoders.blocks:
            x = block(x, mask, frame_mask, table)
        return self.encoders.norm_blocks(x).masked_fill(~frame_mask.unsqueeze(-1), 0.0)

    def _reduced(self, x: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Every ``time_reduction_factor``-th frame."""
        factor = self.time_reduction_factor
        return x[:, ::factor], (lens + factor - 1).div(factor, rounding_mode="floor")
