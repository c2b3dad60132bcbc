"""Online front-end: the frames of any split equal those of the whole waveform."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.audio.cmvn import Cmvn
from funrecipe.audio.fbank import Fbank
from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.online import OnlineFrontend
from funrecipe.errors import UsageError

SHAPES = [(16000, 7, 6), (16000, 5, 1), (16000, 1, 1), (8000, 4, 3), (8000, 7, 6), (16000, 3, 3)]
WAVE = np.random.default_rng(0).normal(0.0, 0.1, 16000).astype(np.float32)


def make_frontend(rate_hz: int, lfr_m: int, lfr_n: int) -> WavFrontend:
    size = 20 * lfr_m
    cmvn = Cmvn(np.linspace(-3, 3, size, dtype=np.float32), np.linspace(0.5, 2, size, dtype=np.float32))
    return WavFrontend(Fbank(rate_hz, n_mels=20), lfr_m, lfr_n, cmvn).eval()


def stream(frontend: WavFrontend, wave: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    online = OnlineFrontend(frontend)
    state = online.start()
    edges = [0, *sorted(min(cut, len(wave)) for cut in cuts), len(wave)]
    pieces = [online.feed(wave[a:b], state, False) for a, b in zip(edges, edges[1:-1])]
    return torch.cat([*pieces, online.feed(wave[edges[-2] :], state, True)])


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    length=st.integers(0, len(WAVE)),
    cuts=st.lists(st.integers(0, len(WAVE)), max_size=30),
)
def test_any_split_gives_the_offline_frames(shape, length, cuts):
    frontend, wave = make_frontend(*shape), torch.from_numpy(WAVE[:length])
    whole, lens = frontend(wave[None], torch.tensor([length]))
    feats = stream(frontend, wave, cuts)
    assert feats.shape == (int(lens[0]), frontend.output_size)
    torch.testing.assert_close(feats, whole[0, : len(feats)], rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_sample_at_a_time(shape):
    frontend, wave = make_frontend(*shape), torch.from_numpy(WAVE[:3001])
    whole = frontend(wave[None], torch.tensor([len(wave)]))[0][0]
    torch.testing.assert_close(stream(frontend, wave, list(range(len(wave)))), whole, rtol=0, atol=2e-4)


def test_frames_come_as_soon_as_their_samples_are_there():
    """FunASR: 9600 samples give exactly ten frames of 60 ms in every step (contract, section 3.2)."""
    online = OnlineFrontend(make_frontend(16000, 7, 6))
    state = online.start()
    wave = torch.zeros(9600)
    assert [len(online.feed(wave, state, False)) for _ in range(3)] == [10, 10, 10]


def test_state_stays_small():
    online = OnlineFrontend(make_frontend(16000, 7, 6))
    state = online.start()
    for _ in range(50):
        online.feed(torch.zeros(1600), state, False)
    assert len(state.samples) < 400
    assert len(state.log_mels) <= 7


def test_reflected_edges_are_refused():
    with pytest.raises(UsageError, match="snip_edges"):
        OnlineFrontend(WavFrontend(Fbank(snip_edges=False)))
