"""SAN-M encoder over overlapping chunks of a whole utterance, and the masks that let a decoder follow it.

The utterance is laid out as chunk after chunk, each with the frames it shares with its neighbors and with a gap of
zeros before it, so that one pass computes what a stream would compute chunk by chunk. Source: Zhang et al. 2020,
"Streaming Chunk-Aware Multihead Attention" (SCAMA), arXiv 2006.01712; ``overlap_chunk`` and
``build_scama_mask_for_cross_attention_decoder`` of ``funasr.modules.streaming_utils.chunk_utilis`` (0.8.8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from funrecipe.models.cif import CifOutput, CifPredictorV2
from funrecipe.models.layers import length_mask, padding_mask
from funrecipe.models.sanm import SANMEncoder

FIRING_SLACK = 1e-6  # in training alphas are scaled to sum to a whole number, up to float32 rounding


@dataclass(frozen=True)
class ChunkShape:
    """One entry of the lists ``chunk_size``, ``stride``, ``pad_left`` ... of ``encoder_conf``, in frames and chunks.

    Attributes:
        size: frames of a chunk; stride: of them new; left: shared with the chunk before (the rest: with the next).
        gap: zeros before each chunk, so that no memory reaches from one chunk into the next.
        encoder_look_back: chunks before its own that a frame attends to.
        decoder_look_back: chunks before its own that a token attends to.
    """

    size: int
    stride: int
    left: int
    gap: int
    encoder_look_back: int
    decoder_look_back: int

    @property
    def width(self) -> int:
        """Positions that a chunk occupies in the layout."""
        return self.gap + self.size


class ChunkLayout:
    """The positions of the frames of utterances laid out in chunks.

    Attributes:
        lens: (B,) positions of each utterance.
        real: (T',) bool: not a gap; own: (T',) bool: new in its chunk (the predictor counts these).
    """

    def __init__(self, feat_lens: Tensor, shape: ChunkShape) -> None:
        self.shape, self.feat_lens = shape, feat_lens
        last_chunk = (feat_lens + shape.stride - 1).div(shape.stride, rounding_mode="floor").clamp(min=1) - 1
        self.lens = last_chunk * (shape.width - shape.stride) + shape.gap + shape.left + feat_lens
        positions = torch.arange(int(self.lens.max()), device=feat_lens.device)
        self._chunk = positions.div(shape.width, rounding_mode="floor")
        self._offset = positions % shape.width - shape.gap
        self.real = self._offset >= 0
        self.own = (self._offset >= shape.left) & (self._offset < shape.left + shape.stride)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T', D); zeros where a chunk reaches past the ends of its utterance."""
        source = self._chunk * self.shape.stride - self.shape.left + self._offset
        inside = (source >= 0) & (source < self.feat_lens[:, None]) & self.real
        return x[:, source.clamp(0, x.size(1) - 1)] * inside[:, :, None]

    def join(self, x: Tensor) -> Tensor:
        """(B, T', D) -> (B, T, D): every frame from the chunk in which it is new; zeros past each length."""
        frames = torch.arange(int(self.feat_lens.max()), device=x.device)
        chunk = frames.div(self.shape.stride, rounding_mode="floor")
        positions = chunk * self.shape.width + self.shape.gap + self.shape.left + frames % self.shape.stride
        joined = x[:, positions.clamp(max=x.size(1) - 1)]
        return joined * length_mask(self.feat_lens, len(frames))[:, :, None]

    def attention_mask(self) -> Tensor:
        """(B, 1, T', T'): a frame sees its chunk, and of earlier chunks in reach the first ``stride`` frames."""
        back = self._chunk[:, None] - self._chunk
        first = self.real & (self._offset < self.shape.stride)
        earlier = (back > 0) & (back <= self.shape.encoder_look_back) & first[:, None] & first
        visible = (((back == 0) & self.real) | earlier) & self.real[:, None]
        return visible & length_mask(self.lens, len(self.real))[:, None, None, :]

    def decoder_mask(self, alphas: Tensor, token_lens: Tensor) -> Tensor:
        """SCAMA: which positions each token may attend to, (B, max(token_lens), T') bool.

        A token sees the whole chunk in which it fires and the own frames of ``decoder_look_back`` chunks before.

        Args:
            alphas: (B, T' or T' + 1) of the predictor; token k fires where their running sum reaches k.
            token_lens: (B,) int64; rows past them see nothing.
        """
        fires = self.firing_positions(alphas, token_lens)
        chunks = (self.lens + self.shape.width - 1).div(self.shape.width, rounding_mode="floor")[:, None]
        back = fires.div(self.shape.width, rounding_mode="floor")[:, :, None] - self._chunk
        nearest = (
            1 + (fires >= chunks * self.shape.width)[:, :, None].long()
        )  # FunASR skips one chunk counted from the last
        visible = (back == 0) | ((back >= nearest) & (back <= self.shape.decoder_look_back) & self.own)
        valid = length_mask(self.lens, len(self.real)) & self.real
        return visible & valid[:, None, :] & length_mask(token_lens, fires.size(1))[:, :, None]

    def firing_positions(self, alphas: Tensor, token_lens: Tensor) -> Tensor:
        """(B, max(token_lens)): where each token fires; one that fires in the tail, past the last position."""
        sums = alphas.double().cumsum(dim=1)
        numbers = torch.arange(1, int(token_lens.max()) + 1, device=alphas.device)
        fires = torch.searchsorted(sums, (numbers - FIRING_SLACK).expand(len(sums), -1).contiguous())
        return torch.minimum(fires, self.lens[:, None])


class SANMChunkEncoder(SANMEncoder):
    """SAN-M encoder that computes in overlapping chunks (``SANMEncoderChunkOpt``); keys as in ``SANMEncoder``.

    Arguments carry the names of ``encoder_conf``; a chunk list names one shape per index, of which training draws one.
    """

    INERT = {key: value for key, value in SANMEncoder.INERT.items() if key != "input_layer"}

    def __init__(
        self,
        input_size: int,
        *,
        kernel_size: int = 11,
        chunk_size: int | Sequence[int] = (16,),
        stride: int | Sequence[int] = (10,),
        pad_left: int | Sequence[int] = (0,),
        encoder_att_look_back_factor: int | Sequence[int] = (1,),
        decoder_att_look_back_factor: int | Sequence[int] = (1,),
        input_layer: str = "pe",
        **sanm: Any,
    ) -> None:
        if input_layer not in ("pe", "pe_online"):  # the same positions, counted by the utterance or by the stream
            raise ValueError(f"encoder sanm_chunk_opt: input_layer is pe or pe_online, not {input_layer!r}")
        super().__init__(input_size, kernel_size=kernel_size, **sanm)
        settings = (chunk_size, stride, pad_left, encoder_att_look_back_factor, decoder_att_look_back_factor)
        lists = [[values] if isinstance(values, int) else list(values) for values in settings]
        if not all(type(value) is int for values in lists for value in values) or min(lists[0] + lists[1]) < 1:
            raise ValueError("chunk_size and stride are lists of integers of 1 or more, the other settings of integers")
        count = len(lists[0])
        lists = [values if len(values) >= count else values[:1] * count for values in lists]
        gap = (kernel_size - 1) // 2
        self.chunk_shapes = [
            ChunkShape(size, stride, left, gap, encoder_back, decoder_back)
            for size, stride, left, encoder_back, decoder_back in zip(*lists)
        ]

    def encode_chunks(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> tuple[Tensor, ChunkLayout]:
        """``feats`` (B, T, input_size) -> (B, T', output_size) in chunk layout, zero past the lengths; layout."""
        layout = ChunkLayout(feat_lens, self.chunk_shapes[shape_index])
        x = layout.split(self.add_positions(feats))
        frame_mask = layout.real.expand(len(x), -1)
        padding = padding_mask(layout.lens, x.size(1))
        if padding is not None:
            frame_mask = frame_mask & padding
        encoder_out = self.run_blocks(x, frame_mask, layout.attention_mask())
        return encoder_out if padding is None or not self.pad_invariant else encoder_out * padding[:, :, None], layout

    def forward(self, feats: Tensor, feat_lens: Tensor, shape_index: int = 0) -> tuple[Tensor, Tensor]:
        """Encoder output as if nothing had been chunked: (B, T, output_size), ``feat_lens``."""
        encoder_out, layout = self.encode_chunks(feats, feat_lens, shape_index)
        return layout.join(encoder_out), feat_lens


class Pass(NamedTuple):
    """What an utterance in chunks gives its decoder."""

    encoder_out: Tensor  # (B, T', D) in chunk layout
    layout: ChunkLayout
    cif: CifOutput
    attention_mask: Tensor  # (B, U, T') bool: what each token may attend to
    token_lens: Tensor  # (B,) int64: tokens that fire


def predict(encoder_out: Tensor, layout: ChunkLayout, predictor: CifPredictorV2) -> Pass:
    """Acoustic embeddings and attention masks of ``encoder_out`` (B, T', D)."""
    cif = predictor(encoder_out * layout.real[:, None], layout.lens, chunk_mask=layout.own)
    token_lens = cif.token_num.floor().to(torch.int64)
    return Pass(encoder_out, layout, cif, layout.decoder_mask(cif.alphas, token_lens), token_lens)


def require_chunk_attention(model_conf: Mapping[str, Any], key: str) -> None:
    """Raises ValueError when ``model_conf[key]`` asks for decoder attention that does not follow the chunks."""
    if (kind := model_conf.get(key, "chunk")) != "chunk":
        raise ValueError(f"model_conf: {key}: {kind!r} is not supported, only 'chunk'")
