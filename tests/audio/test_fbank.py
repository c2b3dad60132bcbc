"""Filter banks against Kaldi's own code (kaldi-native-fbank) and against their definition."""

import math

import numpy as np
import pytest
import torch

from funrecipe.audio.fbank import WINDOWS, Fbank
from funrecipe.errors import UsageError


def speech_like(samples, rate_hz=16000, seed=0):
    """Harmonics with a moving pitch and noise, in int16 units: no bin is near the log floor."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / rate_hz
    pitch = 2 * math.pi * (120 * time_s + 20 * np.sin(3 * time_s))
    wave = sum(np.sin(k * pitch) / k for k in range(1, 25)) + 0.1 * rng.standard_normal(samples)
    return (3000 * wave).astype(np.float32)


@pytest.mark.parametrize("window", ["hamming", "povey", "hanning", "rectangular", "blackman"])
@pytest.mark.parametrize("rate_hz,n_mels", [(16000, 80), (8000, 23), (16000, 40)])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_equals_kaldi_native_fbank(window, rate_hz, n_mels, snip_edges):
    knf = pytest.importorskip("kaldi_native_fbank")
    wave = speech_like(7321, rate_hz)
    options = knf.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = rate_hz, 0.0
    options.frame_opts.window_type, options.frame_opts.snip_edges = window, snip_edges
    options.mel_opts.num_bins, options.energy_floor = n_mels, 0.0
    kaldi = knf.OnlineFbank(options)
    kaldi.accept_waveform(rate_hz, wave.tolist())
    kaldi.input_finished()
    theirs = np.stack([kaldi.get_frame(i) for i in range(kaldi.num_frames_ready)])
    fbank = Fbank(rate_hz, n_mels, window=window, snip_edges=snip_edges)
    ours, lens = fbank(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    assert lens.tolist() == [len(theirs)]
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=2e-3)


@pytest.mark.parametrize("snip_edges", [True, False])
def test_padding_never_changes_a_frame(snip_edges):
    fbank = Fbank(snip_edges=snip_edges)
    waves = [torch.from_numpy(speech_like(n, seed=n)) for n in (5000, 400, 8123)]
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=123.0)
    together, lens = fbank(batch, torch.tensor([len(w) for w in waves]))
    for row, wave in enumerate(waves):
        alone, alone_lens = fbank(wave[None], torch.tensor([len(wave)]))
        assert alone_lens[0] == lens[row]
        torch.testing.assert_close(together[row, : lens[row]], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "samples,frames", [(0, 0), (10, 0), (399, 0), (400, 1), (401, 1), (559, 1), (560, 2), (16000, 98)]
)
def test_frames_lie_inside_the_wave(samples, frames):
    log_mels, lens = Fbank()(torch.zeros(1, samples), torch.tensor([samples]))
    assert lens.tolist() == [frames]
    assert log_mels.shape == (1, frames, 80)


def test_silence_is_the_log_floor():
    log_mels, _ = Fbank()(torch.zeros(1, 800), torch.tensor([800]))
    assert torch.all(log_mels == math.log(torch.finfo(torch.float32).eps))


def test_a_constant_wave_is_silence_because_dc_is_removed():
    log_mels, _ = Fbank()(torch.full((1, 800), 1000.0), torch.tensor([800]))
    assert log_mels.max() < -10


def test_dither_acts_in_training_only():
    fbank = Fbank(dither=1.0)
    wave, lens = torch.from_numpy(speech_like(1600))[None], torch.tensor([1600])
    fbank.eval()
    torch.testing.assert_close(fbank(wave, lens)[0], Fbank()(wave, lens)[0], atol=0, rtol=0)
    fbank.train()
    assert not torch.equal(fbank(wave, lens)[0], fbank(wave, lens)[0])


def test_windows_have_their_published_shapes():
    assert WINDOWS["hamming"](5).tolist() == pytest.approx([0.08, 0.54, 1.0, 0.54, 0.08], abs=1e-6)
    assert WINDOWS["povey"](5).tolist() == pytest.approx([0.0, 0.5**0.85, 1.0, 0.5**0.85, 0.0], abs=1e-6)


def test_unknown_window_is_refused_with_a_hint():
    with pytest.raises(UsageError, match="hamming"):
        Fbank(window="haming")
