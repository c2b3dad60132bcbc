"""Linear layers with weights in fp16 on the CPU."""

import pytest
import torch
from torch import nn

from funrecipe.errors import UsageError
from funrecipe.models import packed

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif("fp16" not in packed.cpu_precisions(), reason="this CPU does not multiply in fp16"),
]


def layer(inputs, outputs, scale=0.05, bias=True):
    torch.manual_seed(inputs)
    linear = nn.Linear(inputs, outputs, bias).requires_grad_(False)
    linear.weight.data = scale * torch.randn(outputs, inputs)
    return linear


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(512, 2048, True), (2048, 512, False), (33, 17, True)])
def test_only_the_weights_are_rounded(inputs, outputs, bias):
    linear = layer(inputs, outputs, bias=bias)
    x = torch.randn(83, inputs)
    exact = x.double() @ linear.weight.half().double().t()
    exact = exact + linear.bias.double() if bias else exact
    found = packed.Fp16Linear(linear)(x)
    assert found.dtype is torch.float32
    assert relative(found.double(), exact) < 1e-6
    assert 1e-5 < relative(found, linear(x)) < 3e-4


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(512, 640), (80, 17), (1100, 64)])
def test_a_row_gives_the_same_in_any_batch(shape, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module, x = packed.Fp16Linear(layer(*shape)), torch.randn(500, shape[0])
        with_relu = packed.Fp16Linear(layer(*shape), "relu")
        together = module(x)
        for rows in (*range(1, 130), 239, 240, 241, 242, 367, 499):
            assert torch.equal(module(x[:rows]), together[:rows]), rows
            assert torch.equal(module(x[-rows:]), together[-rows:]), rows
            assert torch.equal(with_relu(x[:rows]), together[:rows].relu()), rows
        assert torch.equal(module(x.view(5, 100, -1)), together.view(5, 100, -1))
        assert module(x[:0]).shape == (0, shape[1])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("scale", "kind"), [(0.05, packed.Fp16Linear), (1e-6, None), (1e5, None)])
def test_weights_beyond_the_range_of_fp16_stay_in_fp32(scale, kind, monkeypatch):
    monkeypatch.setattr(packed, "fastest", lambda what, inputs, outputs, ways: next(iter(ways)))
    linear = layer(64, 32, scale)
    x = torch.randn(9, 64)
    wanted = linear(x)
    (found,) = packed.pack_linears(nn.Sequential(linear), "fp16")
    assert type(found) is (kind or packed.PackedLinear)
    assert relative(found(x), wanted) < (3e-4 if kind else 1e-6)


def test_a_kernel_whose_bits_depend_on_the_other_rows_is_not_used(monkeypatch):
    monkeypatch.setattr(packed, "_rows_missing", lambda: (0, 119, *range(118, 0, -1)))
    assert "fp16" not in packed.cpu_precisions()
    with pytest.raises(UsageError, match="fp16 is not supported on this CPU"):
        packed.pack_linears(nn.Sequential(layer(64, 32)), "fp16")


def test_asking_for_precisions_draws_no_random_numbers():
    packed._rows_missing.cache_clear()
    before = torch.get_rng_state()
    assert "fp16" in packed.cpu_precisions()
    assert torch.equal(torch.get_rng_state(), before)
