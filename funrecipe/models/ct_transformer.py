"""CT-Transformer: which mark follows each word, offline and for text that a recognizer emits piece by piece.

Source: Chen et al. 2020, "Controllable Time-Delay Transformer for Real-Time Punctuation Prediction and Disfluency
Detection"; state-dict keys and arithmetic of ``funasr.models.{target_delay_transformer,vad_realtime_transformer}``
(0.8.8). What follows the network (texts) is ``funrecipe.punctuation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.models.layers import padding_mask
from funrecipe.models.registry import construct
from funrecipe.models.sanm import SANMEncoder


class RealtimeEncoder(SANMEncoder):
    """No word sees a later one, except in the last block.

    There all words see all, but the first ``known - 1`` words do not see those of this call, so that their marks do
    not change.
    """

    def forward(self, feats: Tensor, feat_lens: Tensor, known: int | Tensor = 0) -> tuple[Tensor, Tensor]:
        """``feats`` (B, U, D), ``feat_lens`` (B,); ``known``, for all or (B,): leading words from earlier calls."""
        size = feats.size(1)
        frame_mask = padding_mask(feat_lens, size)
        causal = torch.ones(size, size, dtype=torch.bool, device=feats.device).tril()
        place = torch.arange(size, device=feats.device)
        known = torch.as_tensor(known, device=feats.device).reshape(-1, 1, 1, 1)
        corner = (place[:, None] >= known - 1) | (place < known)
        if frame_mask is not None:
            causal, corner = (mask & frame_mask[:, None, None, :] for mask in (causal, corner))
        blocks = [*self.encoders0, *self.encoders]
        x = self.add_positions(feats)
        for block in blocks:
            is_last = block is blocks[-1] and len(blocks) > 1
            x = block(x, frame_mask, corner if is_last else causal)
        return self.after_norm(x), feat_lens


class MarkPredictor(nn.Module):
    """Word ids -> logits of marks. Arguments carry the names of ``punctuation_conf``."""

    INERT = {"pos_enc": ...}

    def __init__(
        self,
        vocab_size: int,
        marks: int,
        encoder_class: type[SANMEncoder],
        embed_unit: int = 128,
        att_unit: int = 256,
        head: int = 2,
        unit: int = 1024,
        layer: int = 4,
        dropout_rate: float = 0.5,
        kernel_size: int = 11,
        sanm_shfit: int = 0,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_unit)
        self.encoder = encoder_class(
            embed_unit, att_unit, head, unit, layer, dropout_rate, kernel_size=kernel_size, sanm_shfit=sanm_shfit
        )
        self.decoder = nn.Linear(att_unit, marks)


class CTTransformer(nn.Module):
    """The network under the key ``punc_model``; FunASR 1.x leaves the prefix out.

    Attributes:
        realtime: whether it was made for text that arrives piece by piece.
    """

    key_prefix = "punc_model."

    def __init__(self, punc_model: MarkPredictor) -> None:
        super().__init__()
        self.punc_model = punc_model
        self.realtime = isinstance(punc_model.encoder, RealtimeEncoder)

    def forward(self, ids: Tensor, lens: Tensor, known: int | Tensor = 0) -> Tensor:
        """``ids`` (B, U), ``lens`` (B,) -> logits (B, U, marks).

        Args:
            known: real-time models: how many of the leading words are from earlier calls; for all texts, or (B,).
        """
        embedded = self.punc_model.embed(ids)
        encoder = self.punc_model.encoder
        hidden, _ = encoder(embedded, lens, known) if self.realtime else encoder(embedded, lens)
        return self.punc_model.decoder(hidden)


def build_ct_transformer(config: Mapping[str, Any], input_size: int, vocab_size: int) -> CTTransformer:
    """The network of ``punctuation_conf``, for the marks of ``punc_list``.

    Raises:
        ValueError: no marks, or another kind of network than ``target_delay`` and ``vad_realtime``.
    """
    encoders = {"target_delay": SANMEncoder, "vad_realtime": RealtimeEncoder}
    kind = config.get("punctuation") or "target_delay"
    if kind not in encoders:
        raise ValueError(f"punctuation: '{kind}' is not supported ({', '.join(encoders)})")
    marks = config.get("punc_list")
    if not isinstance(marks, list) or not marks:
        raise ValueError("punc_list is missing; it must list the marks")
    conf = config.get("punctuation_conf") or {}
    fixed = {"vocab_size": vocab_size, "marks": len(marks), "encoder_class": encoders[kind]}
    return CTTransformer(construct(MarkPredictor, conf, "punctuation_conf", **fixed))
