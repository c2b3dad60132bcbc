"""Linear layers for inference on CPU: weights packed once, in fp32, bf16 or int8.

torch's ``F.linear`` multiplies fp32 with MKL and packs the weight anew in every call; oneDNN packs it once. On the Zen
CPUs measured, whole utterances take half the time in fp32, a third in bf16, a quarter in int8 (``docs/speed.md``), and
the few rows of a streaming step gain more; where MKL is faster all the same, a layer is left to it
(``models.kernels``). In fp32 results differ in the last bits only. Everything between the linear layers stays fp32.
"""

from __future__ import annotations

import functools
import os
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import UsageError
from funrecipe.models.kernels import fastest
from funrecipe.models.layers import PointwiseConv

LARGEST_PAIR = 126  # sum of two int8 weights, each rounded by up to a half: 255 · (126 + 1) < 32,768
ROWS_HINT = 64  # rows of the usual input, for which oneDNN chooses the layout
# torch and oneDNN each keep what they prepared for the last 1024 shapes, buffers included. Batches of speech hardly
# ever have the same shape again, and an hour of them would fill 300 MB. Both limits are read at the first use.
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


class PackedLinear(nn.Module):
    """``x W^T + b``, fp32 in and out, multiplied in ``dtype``; no longer has a ``weight``."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.in_features, self.out_features, self._dtype = linear.in_features, linear.out_features, dtype
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), ROWS_HINT)
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "").float()


class Int8Linear(nn.Module):
    """``x W^T + b``, fp32 in and out, multiplied in int8: a scale and an offset per output of W and per row of ``x``.

    Rows are brought to [0, 1] first, so the kernel's one scale for all of ``x`` is 1/255 whatever the rows are. Layers
    that narrow follow an activation, and their inputs have one sign and fill the range without that. With normally
    distributed weights and inputs the result is within 1 % of fp32; where the sums of this CPU saturate (see
    ``saturates``), smaller weights keep them exact: within 1.3 %.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._by_row = self.in_features <= self.out_features
        weight = linear.weight.detach()
        bias = torch.zeros(self.out_features) if linear.bias is None else linear.bias.detach()
        quantized = _quantize(weight, *(_scales_within_16_bits(weight) if saturates() else _scales(weight)))
        self._packed = torch.ops.quantized.linear_prepack(quantized, None if self._by_row else bias)
        if self._by_row:
            self._bias, self._sums = bias, quantized.dequantize().sum(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        if not self._by_row:
            return torch.ops.quantized.linear_dynamic(x, self._packed, False)
        lowest = x.amin(dim=-1, keepdim=True)
        spread = (x.amax(dim=-1, keepdim=True) - lowest).clamp_(min=torch.finfo(torch.float32).tiny)
        product = torch.ops.quantized.linear_dynamic((x - lowest).div_(spread), self._packed, False)
        return torch.addcmul(self._bias, lowest, self._sums).addcmul_(product, spread)


def _scales(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and offsets (O,) with which int8 reaches from the lowest to the largest weight of a row."""
    low, high = weight.amin(dim=1).clamp(max=0).double(), weight.amax(dim=1).clamp(min=0).double()
    scales = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    return scales, (-128 - low / scales).round().clamp(-128, 127).long()


def _scales_within_16_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales (O,) with which 255 times two neighbors of one sign stays within 16 bits, and no offsets."""
    pairs = F.pad(weight, (0, weight.size(1) % 2)).unflatten(1, (-1, 2))
    largest = torch.maximum(pairs.clamp(min=0).sum(dim=2), pairs.clamp(max=0).sum(dim=2).neg()).amax(dim=1).double()
    scales = (largest / LARGEST_PAIR).clamp(min=torch.finfo(torch.float32).tiny)
    return scales, torch.zeros(len(scales), dtype=torch.int64)


def _quantize(weight: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch plans to drop quantized tensors; the version is pinned
        return torch.quantize_per_channel(weight, scales, offsets, 0, torch.qint8)


@functools.cache
def saturates() -> bool:
    """Whether the int8 kernel of this CPU loses the sum of two large products.

    Without VNNI, x86 multiplies with ``vpmaddubsw``, which adds pairs of products in 16 bits: 2 · 255 · 127 is cut to
    32,767. What the kernel does is tried instead of asked: libraries choose theirs by CPU, shape and environment.
    """
    size = 64
    weight, scales = torch.ones(size, size), torch.full((size,), 1 / 127, dtype=torch.float64)
    packed = torch.ops.quantized.linear_prepack(_quantize(weight, scales, torch.zeros(size, dtype=torch.int64)), None)
    for rows in (1, ROWS_HINT):
        x = torch.ones(rows, size)
        x[0, 0] = 0.0  # the range of x begins at 0
        sums = torch.ops.quantized.linear_dynamic(x, packed, False)
        if float((sums - x @ weight.t()).abs().max()) > 0.01 * size:
            return True
    return False


def pack_linears(model: nn.Module, precision: str = "fp32") -> nn.Module:
    """Replace every ``nn.Linear`` and ``PointwiseConv`` of a model in fp32 on CPU by a packed one, in place.

    Elsewhere nothing changes. For models that will neither be trained nor saved again, and whose layers are called, not
    read.

    Args:
        precision: ``fp32``, ``bf16`` or ``int8``; layers with a single output (CIF's alphas) stay fp32.

    Raises:
        UsageError: a precision that this device cannot compute in.
    """
    check_precision(model, precision)
    if not torch.backends.mkldnn.is_available():
        return model
    for module in model.modules():
        for name, child in module.named_children():
            linear = child.as_linear() if type(child) is PointwiseConv else child
            weight = linear.weight if type(linear) is nn.Linear else None
            if weight is not None and weight.device.type == "cpu" and weight.dtype is torch.float32:
                setattr(module, name, _packed(linear, precision if linear.out_features > 1 else "fp32"))
    return model


def _packed(linear: nn.Linear, precision: str) -> nn.Module:
    if precision == "int8":
        return Int8Linear(linear)
    if precision == "bf16":
        return PackedLinear(linear, torch.bfloat16)
    ways = {"packed": lambda: PackedLinear(linear), "plain": lambda: linear}
    return ways[fastest("fp32", linear.in_features, linear.out_features, ways)]()


def cpu_precisions() -> frozenset[str]:
    """The precisions of this CPU; asked only here, so that a test can simulate another CPU."""
    able = {
        "fp32": True,
        "bf16": torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        "int8": bool({"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines)),
    }
    return frozenset(name for name, is_able in able.items() if is_able)


def check_precision(model: nn.Module, precision: str) -> None:
    """Raise a UsageError unless ``model`` can be computed in ``precision`` where it is."""
    if precision == "fp32":
        return
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if not on_cpu or precision not in cpu_precisions():
        where = "this CPU" if on_cpu else "a GPU"
        raise UsageError(f"{precision} is not supported on {where}", where="precision", hint="use fp32")
