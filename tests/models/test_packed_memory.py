"""A packed memory is the plain one."""

import pytest
import torch
from torch import nn

from funrecipe.models.packed import PackedMemory, pack_linears
from funrecipe.models.sanm import Memory


@pytest.mark.parametrize("size,kernel_size,shift", [(32, 11, 0), (32, 11, 5), (32, 11, 3), (20, 4, 0), (7, 1, 0)])
def test_a_packed_memory_is_the_plain_one(size, kernel_size, shift):
    torch.manual_seed(0)
    model = nn.Sequential(Memory(size, kernel_size, shift)).requires_grad_(False)
    memory = model[0]
    packed = pack_linears(model)[0]
    assert type(packed) is PackedMemory and type(memory) is Memory
    for batch, frames in [(1, 0), (1, 1), (1, 5), (1, 83), (3, 40)]:
        x = torch.randn(batch, frames, 3 * size).chunk(3, dim=-1)[2]  # as attention has its values
        mask = torch.arange(frames)[None] < torch.tensor([frames, frames // 2, 1])[:batch, None]
        with torch.inference_mode():
            for given in None, mask:
                assert torch.allclose(packed(x, given), memory(x, given), atol=1e-5), (batch, frames, given)


@pytest.mark.parametrize("memory", [Memory(8, 3).double(), Memory(8, 11, 6)], ids=["fp64", "past frames only"])
def test_other_memories_stay_as_they_are(memory):
    model = nn.Sequential(memory).requires_grad_(False)
    assert type(pack_linears(model)[0]) is Memory


def test_a_memory_of_past_frames_takes_inputs_of_any_length():
    """As FunASR's padding by a negative number, which fails where there is less to take away."""
    memory = Memory(8, 11, 8).requires_grad_(False)
    x = torch.randn(1, 20, 8)
    padded = nn.ConstantPad1d(memory.left_right, 0.0)(x.transpose(1, 2))
    whole = memory(x)
    assert torch.allclose(whole, nn.functional.conv1d(padded, memory.weight, groups=8).transpose(1, 2) + x, atol=1e-5)
    for frames in range(1, 20):
        assert torch.allclose(memory(x[:, :frames]), whole[:, :frames], atol=1e-5)
