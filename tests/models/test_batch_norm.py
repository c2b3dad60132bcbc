"""A batch of a single frame has no variance to normalize by."""

from __future__ import annotations

import torch

from funrecipe.models.layers import FrameBatchNorm


def test_a_single_frame_is_normalized_by_the_running_statistics_and_does_not_change_them() -> None:
    norm, plain = FrameBatchNorm(3), torch.nn.BatchNorm1d(3)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    frames = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm.train()(frames), plain.train()(frames), rtol=0, atol=0)
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    single = frames[:1, :, :1]
    torch.testing.assert_close(norm(single), plain.eval()(single), rtol=0, atol=0)
    assert all(torch.equal(state[name], value) for name, value in norm.state_dict().items())
