"""Kaldi-compatible log-mel filter banks in batched torch, one implementation for CPU and GPU.

Source: Kaldi ``feat/feature-window.cc``, ``feat/mel-computations.cc`` and ``feature-fbank.cc`` with its defaults
(pre-emphasis 0.97, DC removal per frame, power spectrum, 20 Hz to Nyquist), as ``torchaudio.compliance.kaldi.fbank``.
Every frame is computed from its own samples only, so padding never changes a frame. Windows and mel weights are rounded
to float32 in the same places as in Kaldi: in quiet bins that rounding shows in the third decimal of the log-mels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import UsageError, unknown_name

PRE_EMPHASIS = 0.97
LOW_HZ = 20.0
LOG_FLOOR = torch.finfo(torch.float32).eps

WINDOWS = {
    "hamming": lambda n: torch.hamming_window(n, periodic=False, alpha=0.54, beta=0.46),
    "hanning": lambda n: torch.hann_window(n, periodic=False),
    "povey": lambda n: torch.hann_window(n, periodic=False).pow(0.85),
    "blackman": lambda n: torch.blackman_window(n, periodic=False),
    "rectangular": lambda n: torch.ones(n),
}


class Fbank(nn.Module):
    """Waveforms -> log-mel features.

    Args:
        sample_rate_hz: rate of the input.
        n_mels: number of mel bins.
        frame_length_ms, frame_shift_ms: window and hop.
        window: a key of ``WINDOWS``.
        dither: standard deviation of the noise added to every sample of every frame; in training mode only.
        snip_edges: True: only windows that lie wholly inside; False: Kaldi's reflection at both ends.

    Raises:
        UsageError: unknown window, or a window shorter than two samples.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16000,
        n_mels: int = 80,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        window: str = "hamming",
        dither: float = 0.0,
        snip_edges: bool = True,
    ) -> None:
        super().__init__()
        if window not in WINDOWS:
            raise unknown_name("unknown window", window, WINDOWS, where="frontend_conf: window")
        self.window_samples = int(sample_rate_hz * frame_length_ms * 0.001)
        self.shift_samples = int(sample_rate_hz * frame_shift_ms * 0.001)
        if self.window_samples < 2 or self.shift_samples < 1:
            raise UsageError(f"a window of {frame_length_ms} ms every {frame_shift_ms} ms has no samples at this rate")
        self.fft_size = 1 << (self.window_samples - 1).bit_length()
        self.n_mels, self.dither, self.snip_edges = n_mels, dither, snip_edges
        self.window: Tensor
        self.mel_weights: Tensor
        self.register_buffer("window", WINDOWS[window](self.window_samples), persistent=False)
        self.register_buffer("mel_weights", mel_weights(n_mels, self.fft_size, sample_rate_hz), persistent=False)

    def count_frames(self, wave_lens: Tensor) -> Tensor:
        """Frames of utterances of ``wave_lens`` (B,) samples.

        0 when shorter than one window, or without ``snip_edges`` than half a frame shift.
        """
        if self.snip_edges:
            frames = (wave_lens - self.window_samples).div(self.shift_samples, rounding_mode="floor") + 1
            return frames.clamp(min=0)
        return (wave_lens + self.shift_samples // 2).div(self.shift_samples, rounding_mode="floor")

    def forward(self, waveforms: Tensor, wave_lens: Tensor, *, by_shape: bool = False) -> tuple[Tensor, Tensor]:
        """``waveforms`` (B, S) in int16 units, ``wave_lens`` (B,) -> log-mels (B, T, n_mels), lengths (B,).

        Frames past the length are computed from padding and are meaningless. T is the longest of the lengths, or with
        ``by_shape`` as many frames as S samples have.
        """
        lens = self.count_frames(wave_lens)
        longest = self.count_frames(torch.tensor([waveforms.size(1)])) if by_shape else lens
        frames = self.cut_frames(waveforms.float(), wave_lens, int(longest.max()) if lens.numel() else 0)
        if self.training and self.dither > 0.0:
            frames = frames + self.dither * torch.randn_like(frames)
        return self.log_mels(frames), lens

    def cut_frames(self, waveforms: Tensor, wave_lens: Tensor, frames: int) -> Tensor:
        """(B, S) -> overlapping windows (B, frames, window_samples)."""
        if frames == 0:
            return waveforms.new_zeros(waveforms.size(0), 0, self.window_samples)
        if self.snip_edges:
            return waveforms.unfold(1, self.window_samples, self.shift_samples)[:, :frames]
        starts = torch.arange(frames, device=waveforms.device) * self.shift_samples
        first = self.shift_samples // 2 - self.window_samples // 2
        samples = (starts[:, None] + torch.arange(self.window_samples, device=waveforms.device) + first).flatten()
        period = 2 * wave_lens.clamp(min=1)[:, None]
        folded = samples % period  # reflect as often as needed: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
        folded = torch.minimum(folded, period - 1 - folded)
        return waveforms.gather(1, folded).unflatten(1, (frames, self.window_samples))

    def log_mels(self, frames: Tensor) -> Tensor:
        """Windows (..., window_samples) -> (..., n_mels)."""
        if frames.numel() == 0:  # MKL refuses a transform of nothing
            return frames.new_zeros(*frames.shape[:-1], self.n_mels)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - PRE_EMPHASIS * previous) * self.window
        spectrum = torch.fft.rfft(F.pad(frames, (0, self.fft_size - self.window_samples)))
        return torch.matmul(spectrum.abs().square(), self.mel_weights).clamp(min=LOG_FLOOR).log()


def mel_weights(n_mels: int, fft_size: int, sample_rate_hz: int) -> Tensor:
    """Triangles on Kaldi's mel scale, ``(fft_size // 2 + 1, n_mels)``; the Nyquist bin has no weight."""
    low, high = (1127.0 * math.log(1.0 + hz / 700.0) for hz in (LOW_HZ, 0.5 * sample_rate_hz))
    width = (high - low) / (n_mels + 1)
    left, centre, right = (low + (torch.arange(n_mels) + offset) * width for offset in (0.0, 1.0, 2.0))
    bins_hz = torch.arange(fft_size // 2) * (sample_rate_hz / fft_size)
    bin_mels = 1127.0 * (1.0 + bins_hz / 700.0).log()[:, None]
    rising, falling = (bin_mels - left) / (centre - left), (right - bin_mels) / (right - centre)
    return F.pad(torch.minimum(rising, falling).clamp(min=0.0), (0, 0, 0, 1))
