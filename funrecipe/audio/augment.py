"""Augmentation: speed, noise and reverberation on waveforms, SpecAugment on features.

Every function takes the random generator it draws from, so that an utterance gets the same treatment whichever
process or worker handles it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from funrecipe.errors import UsageError


def change_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """``speed`` times faster and higher, by resampling (Ko et al. 2015; sox ``speed``)."""
    if speed == 1.0:
        return waveform
    import soxr

    ratio = Fraction(speed).limit_denominator(100)
    return soxr.resample(waveform, ratio.numerator, ratio.denominator).astype(np.float32)


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr_db: float, chooser: random.Random) -> np.ndarray:
    """Add a random stretch of ``noise`` (repeated where it is shorter) at ``snr_db``."""
    if len(waveform) == 0 or len(noise) == 0:
        return waveform
    begin = chooser.randrange(len(noise))
    stretch = np.resize(np.roll(noise, -begin), len(waveform)).astype(np.float32)
    noise_power = float(np.mean(stretch**2))
    speech_power = float(np.mean(waveform**2))
    if noise_power == 0.0 or speech_power == 0.0:
        return waveform
    return waveform + stretch * np.float32((speech_power / noise_power / 10 ** (snr_db / 10)) ** 0.5)


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with a room response: same length and energy as before, aligned at the response's largest peak."""
    if len(waveform) == 0 or len(response) == 0:
        return waveform
    size = 1 << (len(waveform) + len(response) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)
    direct = int(np.argmax(np.abs(response)))
    wet = wet[direct : direct + len(waveform)]
    power = float(np.mean(wet**2))
    scale = (float(np.mean(waveform**2)) / power) ** 0.5 if power > 0 else 1.0
    return (wet * scale).astype(np.float32)


@dataclass
class WaveAugment:
    """Waveform augmentation of one training utterance.

    Attributes:
        speeds: one is chosen for every utterance and epoch; ``[1.0]`` is off.
        noises: waveforms at the model's rate; each utterance gets one with ``noise_probability``, at a random
            signal-to-noise ratio from ``noise_snr_db``.
        responses: room responses, used with ``reverb_probability``.
    """

    speeds: Sequence[float] = (1.0,)
    noises: Sequence[np.ndarray] = field(default_factory=list)
    noise_probability: float = 0.0
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    responses: Sequence[np.ndarray] = field(default_factory=list)
    reverb_probability: float = 0.0

    def choose_speed(self, chooser: random.Random) -> float:
        return chooser.choice(list(self.speeds))

    def add_room_and_noise(self, waveform: np.ndarray, chooser: random.Random) -> np.ndarray:
        if self.responses and chooser.random() < self.reverb_probability:
            waveform = reverberate(waveform, chooser.choice(list(self.responses)))
        if self.noises and chooser.random() < self.noise_probability:
            waveform = add_noise(
                waveform, chooser.choice(list(self.noises)), chooser.uniform(*self.noise_snr_db), chooser
            )
        return waveform


def width_range(value: Any) -> tuple[int, int]:
    """``[30]`` or ``30`` mean 0 to 30; ``[5, 30]`` is taken as it is; the upper end is excluded, as in ESPnet."""
    values = [value] if isinstance(value, int) else list(value)
    if min(values) < 0:
        raise ValueError(f"a width of {min(values)}")
    if len(values) > 1 and values[0] > values[1]:
        raise ValueError(f"a width from {values[0]} to {values[1]}")
    return (0, int(values[0])) if len(values) == 1 else (int(values[0]), int(values[1]))


class SpecAugment:
    """Time warping, frequency masks and time masks on a padded batch (Park et al. 2019; FunASR ``SpecAug``,
    ``SpecAugLFR``).

    Masked values become 0, the mean of features after CMVN. In LFR mode (``lfr_rate`` > 1) a frame is a row of several
    stacked filter-bank frames, and a frequency mask covers the same mel bands in each of them.

    Args:
        conf: ``apply_time_warp time_warp_window time_warp_mode apply_freq_mask freq_mask_width_range num_freq_mask
            apply_time_mask time_mask_width_range time_mask_width_ratio_range num_time_mask lfr_rate``.
        mel_bins: mel bands of one filter-bank frame.
    """

    DEFAULTS: dict[str, Any] = {
        "apply_time_warp": True, "time_warp_window": 5, "time_warp_mode": "bicubic",
        "apply_freq_mask": True, "freq_mask_width_range": [0, 20], "num_freq_mask": 2,
        "apply_time_mask": True, "time_mask_width_range": None, "time_mask_width_ratio_range": None, "num_time_mask": 2,
        "lfr_rate": 1,
    }  # fmt: skip

    def __init__(self, conf: dict[str, Any], mel_bins: int) -> None:
        unknown = set(conf) - set(self.DEFAULTS)
        if unknown:
            raise UsageError(
                f"specaug_conf: unknown setting {', '.join(sorted(unknown))}", hint=f"known: {', '.join(self.DEFAULTS)}"
            )
        self.conf = {**self.DEFAULTS, **conf}
        self.mel_bins = mel_bins
        if self.conf["time_warp_mode"] not in ("bicubic", "bilinear"):
            raise UsageError(
                f"specaug_conf: unknown time_warp_mode '{self.conf['time_warp_mode']}'", hint="give bicubic or bilinear"
            )
        if self.conf["apply_time_mask"] and not (
            self.conf["time_mask_width_range"] or self.conf["time_mask_width_ratio_range"]
        ):
            raise UsageError("specaug_conf: apply_time_mask needs time_mask_width_range or time_mask_width_ratio_range")

    def __call__(self, feats: Tensor, feat_lens: Tensor, choosers: Sequence[random.Random]) -> Tensor:
        """A changed copy of ``feats`` (B, T, D); row ``i`` draws from ``choosers[i]`` and keeps its length."""
        feats = feats.clone()
        for row, (length, chooser) in enumerate(zip(feat_lens.tolist(), choosers)):
            if length > 0:
                feats[row, :length] = self.augment_one(feats[row, :length], chooser)
        return feats

    def augment_one(self, feats: Tensor, chooser: random.Random) -> Tensor:
        if self.conf["apply_time_warp"]:
            feats = self._warp(feats, chooser)
        if self.conf["apply_freq_mask"]:
            self._mask_bands(feats, chooser)
        if self.conf["apply_time_mask"]:
            self._mask_frames(feats, chooser)
        return feats

    def _warp(self, feats: Tensor, chooser: random.Random) -> Tensor:
        window, length = int(self.conf["time_warp_window"]), len(feats)
        if length - window <= window:
            return feats
        center = chooser.randrange(window, length - window)
        moved = chooser.randrange(center - window, center + window) + 1
        planes = feats.t()[None, None]  # (1, 1, D, T): interpolation only along T
        parts = [
            F.interpolate(part, (feats.size(1), size), mode=self.conf["time_warp_mode"], align_corners=False)
            for part, size in ((planes[..., :center], moved), (planes[..., center:], length - moved))
        ]
        return torch.cat(parts, dim=-1)[0, 0].t()

    def _mask_bands(self, feats: Tensor, chooser: random.Random) -> None:
        low, high = width_range(self.conf["freq_mask_width_range"])
        stacked = feats.size(1) // self.mel_bins if self.conf["lfr_rate"] > 1 else 1
        bands = feats.size(1) // stacked
        for _ in range(int(self.conf["num_freq_mask"])):
            width = min(chooser.randrange(low, max(high, low + 1)), bands)
            begin = chooser.randrange(0, max(1, bands - width))
            for k in range(stacked):
                feats[:, k * bands + begin : k * bands + begin + width] = 0.0

    def _mask_frames(self, feats: Tensor, chooser: random.Random) -> None:
        length = len(feats)
        if self.conf["time_mask_width_ratio_range"]:
            ratios = self.conf["time_mask_width_ratio_range"]
            ratios = [0.0, ratios] if isinstance(ratios, float) else ratios if len(ratios) > 1 else [0.0, ratios[0]]
            if not 0 <= ratios[0] <= ratios[1] <= 1:
                raise ValueError(f"a share from {ratios[0]} to {ratios[1]}")
            low, high = int(length * ratios[0]), int(length * ratios[1])
        else:
            low, high = width_range(self.conf["time_mask_width_range"])
        for _ in range(int(self.conf["num_time_mask"])):
            width = min(chooser.randrange(low, max(high, low + 1)), length)
            begin = chooser.randrange(0, max(1, length - width))
            feats[begin : begin + width] = 0.0


def build_specaug(name: str | None, conf: dict[str, Any] | None, mel_bins: int) -> SpecAugment | None:
    """``specaug``, ``specaug_lfr`` (lfr_rate 6 unless given) or None. Raises UsageError."""
    if name in (None, "none", "null", ""):
        return None
    if name not in ("specaug", "specaug_lfr"):
        raise UsageError(f"specaug: unknown method '{name}'", hint="give specaug, specaug_lfr or none")
    lfr = {"lfr_rate": 6} if name == "specaug_lfr" else {}
    augment = SpecAugment({**lfr, **(conf or {})}, mel_bins)
    try:
        if min(augment.conf["num_freq_mask"], augment.conf["num_time_mask"]) < 0:
            raise ValueError("a negative number of masks")
        augment.augment_one(torch.zeros(100, mel_bins), random.Random(0))  # a wrong value is an error now
    except (TypeError, ValueError, OverflowError, RuntimeError, IndexError) as error:
        raise UsageError(f"specaug_conf: {dict(conf or {})}: {error}") from None
    return augment
