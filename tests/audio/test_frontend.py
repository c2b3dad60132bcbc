"""LFR vectors of the contract, am.mvn reading, the whole front-end in batches."""

import numpy as np
import pytest
import torch

from funrecipe.audio.cmvn import Cmvn, cmvn_from_statistics, read_cmvn, write_cmvn
from funrecipe.audio.frontend import WavFrontend, stack_frames
from funrecipe.errors import DataError, UsageError


@pytest.mark.parametrize(
    "frames,outputs,last",
    [
        (1, 1, [0] * 7),
        (7, 2, [3, 4, 5, 6, 6, 6, 6]),
        (10, 2, [3, 4, 5, 6, 7, 8, 9]),
        (12, 2, [3, 4, 5, 6, 7, 8, 9]),
        (13, 3, [9, 10, 11, 12, 12, 12, 12]),
        (100, 17, [93, 94, 95, 96, 97, 98, 99]),
    ],
)
def test_low_frame_rate_vectors(frames, outputs, last):
    numbered = torch.arange(frames, dtype=torch.float32)[None, :, None]
    stacked, lens = stack_frames(numbered, torch.tensor([frames]), 7, 6)
    assert lens.tolist() == [outputs]
    assert stacked.shape == (1, outputs, 7)
    assert stacked[0, -1].tolist() == last
    assert stacked[0, 0].tolist() == [min(max(i - 3, 0), frames - 1) for i in range(7)]


def test_low_frame_rate_repeats_the_last_frame_of_each_row():
    feats = torch.arange(24.0).reshape(2, 12, 1)
    stacked, lens = stack_frames(feats, torch.tensor([12, 5]), 3, 2)
    assert lens.tolist() == [6, 3]
    assert stacked[1, :3].tolist() == [[12, 12, 13], [13, 14, 15], [15, 16, 16]]


AM_MVN = """<Nnet>
<Splice> 2 2
[ 0 ]

<AddShift> 2 2   
<LearnRateCoef> 0 [ -10.0 -20.0 ]   
<Rescale> 2 2

<LearnRateCoef> 0 [ 0.173205 0.1 ]
</Nnet>
"""


def test_cmvn_file_with_blank_lines_and_trailing_blanks(tmp_path):
    (tmp_path / "am.mvn").write_text(AM_MVN)
    cmvn = read_cmvn(tmp_path / "am.mvn")
    assert cmvn.shift.tolist() == [-10.0, -20.0]
    assert cmvn.scale.tolist() == pytest.approx([0.173205, 0.1])


def test_cmvn_file_with_a_byte_order_mark(tmp_path):
    components = AM_MVN[AM_MVN.index("<AddShift>") :]
    (tmp_path / "am.mvn").write_text(components, encoding="utf-8-sig")
    assert read_cmvn(tmp_path / "am.mvn").shift.tolist() == [-10.0, -20.0]


def test_cmvn_from_statistics_vector_of_the_contract():
    cmvn = cmvn_from_statistics(np.array([30.0, 60.0]), np.array([400.0, 1500.0]), 3)
    assert cmvn.shift.tolist() == [-10.0, -20.0]
    assert cmvn.scale.tolist() == pytest.approx([0.173205, 0.1], abs=1e-6)


def test_cmvn_is_read_as_it_was_written(tmp_path):
    cmvn = Cmvn(np.array([-1.5, 3.25e-7], np.float32), np.array([0.1, 123.456], np.float32))
    write_cmvn(tmp_path / "am.mvn", cmvn)
    again = read_cmvn(tmp_path / "am.mvn")
    assert np.array_equal(again.shift, cmvn.shift) and np.array_equal(again.scale, cmvn.scale)
    assert [p.name for p in tmp_path.iterdir()] == ["am.mvn"]


def test_a_constant_dimension_gives_a_finite_scale():
    assert np.isfinite(cmvn_from_statistics(np.array([6.0]), np.array([12.0]), 3).scale).all()


@pytest.mark.parametrize(
    "broken",
    [
        "",
        AM_MVN.replace("<Rescale>", "<Other>"),
        AM_MVN.replace("-20.0 ", ""),
        AM_MVN.replace("0.1 ]", "nan ]"),
        AM_MVN.replace("-20.0", "much"),
        AM_MVN[:60],
    ],
)
def test_broken_cmvn_files_are_named(tmp_path, broken):
    (tmp_path / "am.mvn").write_text(broken)
    with pytest.raises(DataError, match=r"am\.mvn"):
        read_cmvn(tmp_path / "am.mvn")


@pytest.fixture
def frontend(tmp_path):
    rng = np.random.default_rng(1)
    shift, scale = rng.standard_normal(560).astype(np.float32), rng.random(560).astype(np.float32)
    write_cmvn(tmp_path / "am.mvn", Cmvn(shift, scale))
    return WavFrontend.from_config({"fs": 16000, "lfr_m": 7, "lfr_n": 6, "dither": 1.0}, tmp_path / "am.mvn").eval()


def test_batch_equals_alone_and_is_zero_behind_each_length(frontend):
    rng = np.random.default_rng(2)
    waves = [torch.from_numpy(rng.uniform(-0.5, 0.5, n).astype(np.float32)) for n in (9000, 10, 4321, 400)]
    lens = torch.tensor([len(w) for w in waves])
    feats, feat_lens = frontend(torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), lens)
    assert feat_lens.tolist() == [9, 0, 5, 1]
    for row, wave in enumerate(waves):
        alone, _ = frontend(wave[None], lens[row : row + 1])
        torch.testing.assert_close(feats[row, : feat_lens[row]], alone[0], atol=1e-4, rtol=0)
        assert not feats[row, feat_lens[row] :].any()


@pytest.mark.parametrize("snip_edges", [True, False])
def test_by_shape_sizes_follow_from_the_samples_and_frames_are_the_same(frontend, snip_edges):
    frontend.fbank.snip_edges = snip_edges
    waves = torch.randn(2, 7680) * 0.1
    for lens in ([7680, 1000], [700, 500]):  # whatever shares the tile
        wave_lens = torch.tensor(lens)
        feats, feat_lens = frontend(waves, wave_lens, by_shape=True)
        plain, plain_lens = frontend(waves, wave_lens)
        assert feats.shape[:2] == (2, 8) and feat_lens.tolist() == plain_lens.tolist()
        assert torch.allclose(feats[:, : plain.size(1)], plain, atol=1e-4)
        assert not feats[:, plain.size(1) :].any()


def test_window_and_hop_in_samples_of_early_releases():
    early = WavFrontend.from_config({"fs": 16000, "win_length": 400, "hop_length": 160})
    assert (early.fbank.window_samples, early.fbank.shift_samples) == (400, 160)


def test_unknown_key_is_refused():
    with pytest.raises(UsageError, match="n_mels"):
        WavFrontend.from_config({"n_mel": 80})


def test_normalization_of_another_width_is_refused(tmp_path):
    write_cmvn(tmp_path / "am.mvn", Cmvn(np.zeros(80, np.float32), np.ones(80, np.float32)))
    with pytest.raises(DataError, match="80 columns"):
        WavFrontend.from_config({"lfr_m": 7, "lfr_n": 6}, tmp_path / "am.mvn")
