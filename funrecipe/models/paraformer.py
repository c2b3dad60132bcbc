"""Paraformer: parallel recognition in one pass (Gao et al. 2022, arXiv:2206.08317; FunASR ``Paraformer``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.models.cif import CifOutput, CifPredictor, CifPredictorV2
from funrecipe.models.conformer import ConformerEncoder
from funrecipe.models.ctc import CTC, DEFAULT_CTC_WEIGHT
from funrecipe.models.data2vec import Data2VecEncoder
from funrecipe.models.registry import build_component, construct
from funrecipe.models.sanm import ParaformerSANMDecoder, SANMEncoder
from funrecipe.models.transformer import ParaformerSANDecoder

ENCODERS = {"sanm": SANMEncoder, "conformer": ConformerEncoder, "data2vec_encoder": Data2VecEncoder}
DECODERS = {"paraformer_decoder_sanm": ParaformerSANMDecoder, "paraformer_decoder_san": ParaformerSANDecoder}
PREDICTORS = {"cif_predictor": CifPredictor, "cif_predictor_v2": CifPredictorV2}
DEFAULT_BERT_SIZE = 768


class Paraformer(nn.Module):
    """Encoder, CIF predictor, parallel decoder and an optional CTC head.

    The four steps of recognition are ``encode``, ``predict``, ``decode`` and an arg-max over the vocabulary.
    """

    def __init__(self, encoder: nn.Module, predictor: nn.Module, decoder: nn.Module, ctc: CTC | None = None) -> None:
        super().__init__()
        self.encoder, self.predictor, self.decoder, self.ctc = encoder, predictor, decoder, ctc

    def encode(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,); zero past each length."""
        return self.encoder(feats, feat_lens)

    def predict(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> CifOutput:
        """Token numbers and acoustic embeddings of an encoded batch."""
        return self.predictor(encoder_out, encoder_out_lens)

    def decode(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        """``embeds`` (B, U, D), ``token_lens`` (B,) -> log-probabilities (B, U, V)."""
        return self.decoder(encoder_out, encoder_out_lens, embeds, token_lens).float().log_softmax(dim=-1)

    def forward(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, U, V) and token numbers (B,) int64 of features."""
        encoder_out, encoder_out_lens = self.encode(feats, feat_lens)
        cif = self.predict(encoder_out, encoder_out_lens)
        token_lens = cif.token_num.round().to(torch.int64)
        return self.decode(encoder_out, encoder_out_lens, cif.embeds, token_lens), token_lens


def build_ctc(config: Mapping[str, Any], vocab_size: int, size: int) -> CTC | None:
    """A CTC head, if the configuration gives CTC any weight."""
    if (config.get("model_conf") or {}).get("ctc_weight", DEFAULT_CTC_WEIGHT) == 0.0:
        return None
    return construct(CTC, config.get("ctc_conf") or {}, "ctc_conf", vocab_size=vocab_size, encoder_output_size=size)


def build_paraformer(
    config: Mapping[str, Any],
    input_size: int,
    vocab_size: int,
    *,
    model: type[Paraformer] = Paraformer,
    encoders: Mapping[str, type] = ENCODERS,
    decoders: Mapping[str, type] = DECODERS,
    predictors: Mapping[str, type] = PREDICTORS,
) -> Any:
    """A ``model`` of the components that ``config`` names, each one of those given."""
    encoder = build_component(config, "encoder", encoders, input_size=input_size)
    size = encoder.output_size
    decoder = build_component(config, "decoder", decoders, vocab_size=vocab_size, encoder_output_size=size)
    predictor = build_component(config, "predictor", predictors)
    return model(encoder, predictor, decoder, build_ctc(config, vocab_size, size))


def build_paraformer_bert(config: Mapping[str, Any], input_size: int, vocab_size: int) -> Paraformer:
    """A Paraformer that was trained to resemble BERT (FunASR: ParaformerBert).

    It recognizes like any other; the projection to BERT's embeddings, ``pro_nn``, is for training only.
    """
    model = build_paraformer(config, input_size, vocab_size)
    size = int((config.get("model_conf") or {}).get("embed_dims", DEFAULT_BERT_SIZE))
    model.pro_nn = nn.Linear(model.encoder.output_size, size)
    return model
