"""int8 layers: the sums are exact whatever the CPU, and the layer stays close to fp32."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from funrecipe.models import packed

pytestmark = pytest.mark.skipif("int8" not in packed.cpu_precisions(), reason="this CPU has no int8 kernel")
# What makes torch's libraries take the kernels of a CPU without AVX-512 and VNNI, where they are asked for it.
OLD_CPU = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
}


def layer(kind, inputs, outputs):
    generator = torch.Generator().manual_seed(3)
    linear = nn.Linear(inputs, outputs)
    if kind == "uniform":
        linear.weight.data = (torch.rand(outputs, inputs, generator=generator) - 0.5) / 10
        x = torch.randn(83, inputs, generator=generator).relu()
    elif kind == "large":  # every product is as large as int8 makes it
        linear.weight.data = torch.full((outputs, inputs), 0.05)
        x = torch.ones(83, inputs)
        x[0] = 0.0
    else:
        linear.weight.data = torch.randn(outputs, inputs, generator=generator) / 20
        x = torch.randn(83, inputs, generator=generator)
    return linear, x


def codes_of(weight, saturating):
    """Scales, offsets and integers of every row of ``weight``, by hand."""
    if saturating:
        pairs = [abs(weight[:, ::2].clamp(min=0) + weight[:, 1::2].clamp(min=0)),
                 abs(weight[:, ::2].clamp(max=0) + weight[:, 1::2].clamp(max=0))]  # fmt: skip
        scales = torch.stack(pairs).amax(dim=(0, 2)) / 126
        offsets = torch.zeros_like(scales)
    else:
        low, high = weight.amin(dim=1).clamp(max=0), weight.amax(dim=1).clamp(min=0)
        scales = (high - low) / 255
        offsets = (-128 - low / scales).round()
    return scales, offsets, (weight / scales[:, None] + offsets[:, None]).round().clamp(-128, 127)


def integer_product(linear, x, saturating):
    """The same quantization with 64-bit sums."""
    scales, offsets, codes = codes_of(linear.weight.detach().double(), saturating)
    whole = codes - offsets[:, None]
    if linear.in_features > linear.out_features:  # one scale for all rows
        step = (max(float(x.max()), 0.0) - min(float(x.min()), 0.0)) / 255
        inputs = (x.double() / step).round()
        return (inputs @ whole.t()) * step * scales + linear.bias.detach()
    low = x.double().amin(dim=1, keepdim=True)
    spread = x.double().amax(dim=1, keepdim=True) - low
    inputs = ((x.double() - low) / spread.clamp(min=1e-30) * 255).round()
    return (inputs @ whole.t()) / 255 * spread * scales + low * whole.sum(dim=1) * scales + linear.bias.detach()


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("kind", ["uniform", "normal", "large"])
@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize("shape", [(512, 256), (256, 512)])
def test_sums_are_exact(kind, saturating, shape, monkeypatch):
    if not saturating and packed.saturates():
        pytest.skip("the kernel of this CPU saturates")
    monkeypatch.setattr(packed, "saturates", lambda: saturating)
    linear, x = layer(kind, *shape)
    found = packed.Int8Linear(linear)(x).double()
    assert relative(found, integer_product(linear, x, saturating)) < 0.003


def test_pairs_of_products_fit_in_16_bits():
    weight = torch.randn(64, 511, generator=torch.Generator().manual_seed(5))
    scales, offsets = packed._scales_within_16_bits(weight)
    codes = torch.nn.functional.pad((weight / scales[:, None]).round(), (0, 1)).unflatten(1, (-1, 2))
    largest = max(codes.clamp(min=0).sum(dim=2).max(), -codes.clamp(max=0).sum(dim=2).min())
    assert 120 < largest <= 127 and 255 * 127 < 2**15 and not offsets.any()


def test_a_row_gives_the_same_in_any_batch():
    linear, x = layer("normal", 256, 512)
    x[3] = 0.0  # constant rows have no range
    x[4] = 2.5
    x[5] *= 1000
    module = packed.Int8Linear(linear)
    together = module(x)
    assert relative(together[3:5], linear(x[3:5]).detach()) < 0.01
    assert all(torch.equal(module(x[row : row + 1]), together[row : row + 1]) for row in range(8))
    assert torch.equal(module(x.view(1, 83, -1)), together.view(1, 83, -1))


@pytest.mark.parametrize("environment", [{}, OLD_CPU], ids=["this CPU", "as on an old CPU"])
def test_a_layer_is_within_a_percent_of_fp32(environment):
    """Uniform weights with inputs of one sign saturated most: up to 11.6 %."""
    code = """
import torch
from funrecipe.models import packed
from torch import nn
torch.manual_seed(0)
worst = 0.0
for inputs, outputs, rows, is_positive in [(512, 2048, 83, 0), (2048, 512, 83, 1), (512, 1536, 15, 0)]:
    for weight in torch.randn(outputs, inputs), torch.rand(outputs, inputs) - 0.5:
        linear = nn.Linear(inputs, outputs)
        linear.weight.data = weight / 20
        x = torch.randn(rows, inputs)
        x = x.relu() if is_positive else x
        wanted = linear(x).detach()
        worst = max(worst, float((packed.Int8Linear(linear)(x) - wanted).norm() / wanted.norm()))
print(packed.saturates(), worst)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    saturates, worst = result.stdout.split()
    assert float(worst) < {"False": 0.01, "True": 0.013}[saturates]
