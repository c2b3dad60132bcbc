"""Waveforms to model input: log-mels, low frame rate, normalization (``funasr.models.frontend.wav_frontend``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.audio.cmvn import Cmvn, read_cmvn
from funrecipe.audio.fbank import Fbank
from funrecipe.errors import DataError, unknown_name

INT16_SCALE = 32768.0  # Kaldi works in int16 units
# filter_length_* are read by FunASR and used nowhere; cmvn_file is named by the model folder
IGNORED_KEYS = {"filter_length_min", "filter_length_max", "cmvn_file"}
MEANINGS = {
    "fs": "sample_rate_hz",
    "n_mels": "n_mels",
    "frame_length": "frame_length_ms",
    "frame_shift": "frame_shift_ms",
    "window": "window",
    "dither": "dither",
    "snip_edges": "snip_edges",
}


class WavFrontend(nn.Module):
    """Batched front-end without trained parameters.

    Args:
        fbank: filter banks.
        lfr_m, lfr_n: frames stacked, frames advanced.
        cmvn: normalization of the stacked features, its first columns if it has more; None: none.
        scale: factor from the input to int16 units: 32768 for waveforms in [-1, 1], 1 for int16 values.
    """

    def __init__(
        self, fbank: Fbank, lfr_m: int = 1, lfr_n: int = 1, cmvn: Cmvn | None = None, scale: float = INT16_SCALE
    ) -> None:
        super().__init__()
        self.fbank, self.lfr_m, self.lfr_n, self.scale = fbank, lfr_m, lfr_n, scale
        self.shift: Tensor | None
        self.rescale: Tensor | None
        size = self.output_size
        if cmvn is not None and len(cmvn.shift) < size:
            raise DataError(
                f"the feature normalization has {len(cmvn.shift)} columns, the front-end makes {size}",
                hint="use the am.mvn of this model, made for its lfr_m",
            )
        self.register_buffer("shift", None if cmvn is None else torch.from_numpy(cmvn.shift[:size]), persistent=False)
        self.register_buffer("rescale", None if cmvn is None else torch.from_numpy(cmvn.scale[:size]), persistent=False)

    @classmethod
    def from_config(cls, frontend_conf: Mapping[str, Any], cmvn_path: Path | str | None = None) -> WavFrontend:
        """Build from ``frontend_conf`` (0.x key names) and ``am.mvn``.

        ``win_length`` and ``hop_length`` (samples) of early releases stand for ``frame_length`` and ``frame_shift``.

        Raises:
            UsageError: an unknown key.
            DataError: a bad or too narrow ``am.mvn``.
        """
        conf = {k: v for k, v in frontend_conf.items() if k not in IGNORED_KEYS and v is not None}
        fs = str(conf.get("fs", 16000)).lower()  # FunASR also writes 16k
        rate = int(float(fs.removesuffix("k")) * (1000 if fs.endswith("k") else 1))
        for early, key in (("win_length", "frame_length"), ("hop_length", "frame_shift")):
            if early in conf:
                conf[key] = conf.pop(early) * 1000.0 / rate
        lfr_m, lfr_n = int(conf.pop("lfr_m", 1)), int(conf.pop("lfr_n", 1))
        scale = INT16_SCALE if conf.pop("upsacle_samples", True) else 1.0
        for key in conf:
            if key not in MEANINGS:
                raise unknown_name("unknown key", key, MEANINGS, where="config.yaml: frontend_conf")
        conf["fs"] = rate
        fbank = Fbank(**{MEANINGS[key]: value for key, value in conf.items()})
        return cls(fbank, lfr_m, lfr_n, None if cmvn_path is None else read_cmvn(cmvn_path), scale)

    @property
    def output_size(self) -> int:
        """Columns of the features."""
        return self.fbank.n_mels * self.lfr_m

    def forward(self, waveforms: Tensor, wave_lens: Tensor, *, by_shape: bool = False) -> tuple[Tensor, Tensor]:
        """``waveforms`` (B, S) float, ``wave_lens`` (B,) -> ``feats`` (B, T, output_size), ``feat_lens`` (B,).

        ``feats`` are zero past each length; an utterance too short for a frame has length 0. Dither only in training.
        With ``by_shape`` all sizes follow from that of ``waveforms``, whatever the lengths are.
        """
        log_mels, mel_lens = self.fbank(waveforms * self.scale, wave_lens, by_shape=by_shape)
        feats, feat_lens = stack_frames(log_mels, mel_lens, self.lfr_m, self.lfr_n, by_shape=by_shape)
        feats = self.normalize(feats)
        if by_shape or feats.size(0) > 1 or bool((feat_lens < feats.size(1)).any()):
            valid = torch.arange(feats.size(1), device=feats.device) < feat_lens[:, None]
            feats = feats * valid[:, :, None]
        return feats, feat_lens

    def normalize(self, feats: Tensor) -> Tensor:
        """``(feats + shift) * scale`` over the last dimension."""
        return feats if self.shift is None else (feats + self.shift) * self.rescale


def stack_frames(feats: Tensor, feat_lens: Tensor, m: int, n: int, *, by_shape: bool = False) -> tuple[Tensor, Tensor]:
    """Low frame rate: ``m`` neighboring frames stacked, every ``n``-th kept; edges repeat, per utterance.

    ``feats`` (B, T, D), ``feat_lens`` (B,) -> (B, ceil(T / n), m * D), lengths. Source: ``wav_frontend.apply_lfr``:
    ``(m - 1) // 2`` copies of the first frame in front, the last frame repeated at the end. T is the longest length
    unless ``by_shape``.
    """
    if m == 1 and n == 1:
        return feats, feat_lens
    lens = (feat_lens + n - 1).div(n, rounding_mode="floor")
    longest = -(-feats.size(1) // n) if by_shape else int(lens.max()) if lens.numel() else 0
    steps = torch.arange(longest, device=feats.device)[:, None] * n
    taps = steps + torch.arange(m, device=feats.device) - (m - 1) // 2
    last = (feat_lens - 1).clamp(min=0)[:, None]
    source = torch.minimum(taps.flatten()[None].clamp(min=0), last)
    stacked = feats[torch.arange(feats.size(0), device=feats.device)[:, None], source]
    return stacked.reshape(feats.size(0), longest, m * feats.size(2)), lens
