"""Timestamp predictor: the encoder and the fine CIF head of a BiCif Paraformer, without a decoder.

Source: Shi et al. 2023, "Achieving Timestamp Prediction While Recognizing with Non-Autoregressive End-to-End ASR
Model"; ``funasr.models.e2e_tp.TimestampPredictor`` (0.8.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from funrecipe.models.bicif_paraformer import CifPredictorV3, FineCif
from funrecipe.models.paraformer import ENCODERS
from funrecipe.models.registry import build_component

END_TOKEN = 1  # the head fires once more past the last token


class TimestampPredictor(nn.Module):
    """Keys ``encoder.*`` and ``predictor.*``."""

    def __init__(self, encoder: nn.Module, predictor: CifPredictorV3) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def encode(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T, D), lengths."""
        return self.encoder(feats, feat_lens)

    def fine_cif(self, encoder_out: Tensor, encoder_out_lens: Tensor, token_lens: Tensor) -> FineCif:
        """The fine head, scaled to the number of tokens of each text, ``token_lens`` (B,)."""
        return self.predictor.fine_cif(encoder_out, encoder_out_lens, token_lens + END_TOKEN)


def build_timestamp_predictor(config: Mapping[str, Any], input_size: int, vocab_size: int) -> TimestampPredictor:
    """The encoder and the predictor of the configuration; the vocabulary is that of the texts."""
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    return TimestampPredictor(encoder, build_component(config, "predictor", {"cif_predictor_v3": CifPredictorV3}))
