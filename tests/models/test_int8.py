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


def layer(kind, inputs=512, outputs=256):
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


def integer_product(linear, x, largest):
    """The same quantization with 64-bit sums."""
    weight = linear.weight.detach().double()
    scales = weight.abs().amax(dim=1) / largest
    codes = (weight / scales[:, None]).round().clamp(-128, 127)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    inputs = (x.double() / step).round().add(zero).clamp(0, 255) - zero
    return (inputs @ codes.t()) * step * scales + linear.bias.detach().double()


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("kind", ["uniform", "normal", "large"])
@pytest.mark.parametrize("saturating", [False, True])
def test_sums_are_exact(kind, saturating, monkeypatch):
    if not saturating and packed.saturates():
        pytest.skip("the kernel of this CPU saturates")
    monkeypatch.setattr(packed, "saturates", lambda: saturating)
    linear, x = layer(kind)
    found = packed.Int8Linear(linear)(x).double()
    assert relative(found, integer_product(linear, x, 64 if saturating else 127)) < 0.003


def test_seven_bits_are_as_many_as_fit():
    assert 2 * 255 * packed.WITHIN_16_BITS < 2**15 <= 2 * 255 * (packed.WITHIN_16_BITS + 1)


@pytest.mark.parametrize("environment", [{}, OLD_CPU], ids=["this CPU", "as on an old CPU"])
def test_a_layer_is_within_a_percent_of_fp32(environment):
    """Uniform weights with inputs of one sign saturated most: up to 11.6 %."""
    code = """
import torch
from funrecipe.models import packed
from torch import nn
torch.manual_seed(0)
worst = 0.0
for inputs, outputs, rows in [(512, 2048, 83), (2048, 512, 15), (512, 1536, 1), (256, 256, 300)]:
    linear = nn.Linear(inputs, outputs)
    linear.weight.data = (torch.rand(outputs, inputs) - 0.5) / 10
    x = torch.rand(rows, inputs)
    wanted = linear(x).detach()
    worst = max(worst, float((packed.Int8Linear(linear)(x) - wanted).norm() / wanted.norm()))
print(worst)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.01
