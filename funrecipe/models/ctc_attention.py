"""Hybrid CTC/attention model: Conformer or Transformer encoder, Transformer decoder, CTC head (``model: asr``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from funrecipe.models.conformer import ConformerEncoder
from funrecipe.models.ctc import CTC, DEFAULT_CTC_WEIGHT
from funrecipe.models.data2vec import Data2VecEncoder
from funrecipe.models.registry import build_component, construct
from funrecipe.models.transformer import TransformerDecoder, TransformerEncoder

DECODERS = {"transformer": TransformerDecoder}
ENCODERS = {"conformer": ConformerEncoder, "transformer": TransformerEncoder, "data2vec_encoder": Data2VecEncoder}


class CTCAttentionModel(nn.Module):
    """FunASR: ASRModel (Watanabe et al. 2017). ``ctc`` is None when its weight is 0, ``decoder`` when that is 1."""

    def __init__(self, encoder: nn.Module, decoder: TransformerDecoder | None, ctc: CTC | None) -> None:
        super().__init__()
        self.encoder, self.decoder, self.ctc = encoder, decoder, ctc

    @property
    def vocab_size(self) -> int:
        return (self.decoder.output_layer if self.ctc is None else self.ctc.ctc_lo).out_features

    def encode(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,)."""
        return self.encoder(feats, feat_lens)


def build_ctc_attention(config: Mapping[str, Any], input_size: int, vocab_size: int) -> CTCAttentionModel:
    """The model of a config whose ``model`` is ``asr``."""
    ctc_weight = float((config.get("model_conf") or {}).get("ctc_weight", DEFAULT_CTC_WEIGHT))
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    width = encoder.output_size
    decoder = None
    if ctc_weight < 1.0:
        decoder = build_component(config, "decoder", DECODERS, vocab_size=vocab_size, encoder_output_size=width)
    ctc = construct(CTC, config.get("ctc_conf") or {}, "ctc_conf", vocab_size=vocab_size, encoder_output_size=width)
    return CTCAttentionModel(encoder, decoder, ctc if ctc_weight > 0.0 else None)
