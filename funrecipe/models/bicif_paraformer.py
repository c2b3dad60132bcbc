"""BiCif Paraformer: a second, finer CIF head that tells when each token is spoken.

Source: Shi et al. 2023, "Achieving Timestamp Prediction While Recognizing with Non-Autoregressive End-to-End ASR
Model"; ``funasr.models.predictor.cif.CifPredictorV3`` and ``BiCifParaformer`` (0.8.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from funrecipe.models.cif import CifPredictorV2, accumulator
from funrecipe.models.layers import padding_mask
from funrecipe.models.paraformer import ENCODERS, Paraformer, build_paraformer
from funrecipe.models.registry import build_component

PEAK_SLACK = 1e-4  # FunASR lets the fine head fire a little early, so that the last token is not lost
END_TOKEN = 1  # the head fires once more past the last token


class FineCif(NamedTuple):
    """The fine head, ``K`` steps per encoder frame: both (B, K * T), scaled to the number of tokens."""

    alphas: Tensor
    peaks: Tensor


class CifPredictorV3(CifPredictorV2):
    """CIF v2 with a second head on the encoder output, upsampled ``upsample_times``.

    Keys in addition to v2: ``upsample_cnn``, ``blstm`` (type ``cnn_blstm``), ``cif_output2``.

    Attributes:
        pad_invariant: as in :class:`funrecipe.models.sanm.SANMEncoder`; False lets the backward LSTM read padding.
    """

    pad_invariant = True

    def __init__(
        self,
        idim: int,
        smooth_factor2: float = 1.0,
        noise_threshold2: float = 0.0,
        upsample_times: int = 5,
        upsample_type: str = "cnn",
        use_cif1_cnn: bool = True,
        **conf: Any,
    ) -> None:
        super().__init__(idim, **conf)
        if upsample_type not in ("cnn", "cnn_blstm"):
            raise ValueError(f"cif_predictor_v3: upsample_type '{upsample_type}' is not supported (cnn, cnn_blstm)")
        self.smooth_factor2, self.noise_threshold2 = smooth_factor2, noise_threshold2
        self.upsample_times, self.use_cif1_cnn = upsample_times, use_cif1_cnn
        self.upsample_cnn = nn.ConvTranspose1d(idim, idim, upsample_times, upsample_times)
        self.blstm = nn.LSTM(idim, idim, batch_first=True, bidirectional=True) if upsample_type == "cnn_blstm" else None
        self.cif_output2 = nn.Linear(idim if self.blstm is None else 2 * idim, 1)

    def fine_alphas(self, hidden: Tensor, hidden_lens: Tensor) -> Tensor:
        """``hidden`` (B, T, D) -> alphas of the second head (B, K * T), unscaled; their sum counts tokens too."""
        source = self.convolve(hidden) if self.use_cif1_cnn else hidden
        fine = self.upsample_cnn(source.transpose(1, 2)).transpose(1, 2)
        fine_lens = hidden_lens * self.upsample_times
        if self.blstm is not None:
            fine = self._run_blstm(fine, fine_lens)
        alphas = torch.sigmoid(self.cif_output2(fine)).squeeze(-1)
        alphas = torch.relu(alphas * self.smooth_factor2 - self.noise_threshold2)
        mask = padding_mask(fine_lens, fine.size(1))
        return alphas if mask is None else alphas * mask

    def fine_cif(self, hidden: Tensor, hidden_lens: Tensor, token_num: Tensor) -> FineCif:
        """The second head with its alphas scaled to sum to ``token_num`` (B,), and its accumulator."""
        alphas = self.fine_alphas(hidden, hidden_lens)
        alphas = alphas * (token_num / alphas.sum(dim=1).clamp(min=torch.finfo(alphas.dtype).tiny))[:, None]
        threshold = self.threshold - PEAK_SLACK
        return FineCif(alphas, accumulator(alphas, threshold, threshold))

    def _run_blstm(self, x: Tensor, lens: Tensor) -> Tensor:
        assert self.blstm is not None
        if not self.pad_invariant or bool((lens >= x.size(1)).all()):
            return self.blstm(x)[0]
        packed = pack_padded_sequence(x, lens.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.blstm(packed)[0], batch_first=True, total_length=x.size(1))[0]


PREDICTORS = {"cif_predictor_v3": CifPredictorV3}


def build_bicif_paraformer(config: Mapping[str, Any], input_size: int, vocab_size: int) -> Paraformer:
    """A Paraformer whose predictor is version 3."""
    return build_paraformer(config, input_size, vocab_size, predictors=PREDICTORS)


class TimestampPredictor(nn.Module):
    """The encoder and the fine head without a decoder, for known texts; ``funasr.models.e2e_tp`` (0.8.8)."""

    def __init__(self, encoder: nn.Module, predictor: CifPredictorV3) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def encode(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T, D), lengths."""
        return self.encoder(feats, feat_lens)


def build_timestamp_predictor(config: Mapping[str, Any], input_size: int, vocab_size: int) -> TimestampPredictor:
    """The encoder and the predictor of the configuration; the vocabulary is that of the texts."""
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    return TimestampPredictor(encoder, build_component(config, "predictor", PREDICTORS))
