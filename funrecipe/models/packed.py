"""Linear layers for inference on CPU: weights packed once, in fp32, fp16, bf16 or int8.

torch's ``F.linear`` multiplies fp32 with MKL and packs the weight anew in every call; oneDNN packs it once. On the Zen
CPUs measured, whole utterances take half the time in fp32, a third in bf16, a quarter in int8 (``docs/speed.md``), and
the few rows of a streaming step gain more; where MKL is faster all the same, a layer is left to it
(``models.kernels``). Weights in fp16, which FBGEMM converts while it multiplies in fp32, keep 11 bits and take half as
long to read. In fp32 results differ in the last bits only. Everything between the linear layers stays fp32.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import UsageError
from funrecipe.models.kernels import LEAST_WEIGHTS, fastest
from funrecipe.models.layers import FeedForward, PointwiseConv
from funrecipe.models.onnx_products import OnnxRuntimeLinear, OnnxRuntimeProduct, can_use_onnxruntime
from funrecipe.models.sanm import Memory

LARGEST_PAIR = 126  # sum of two int8 weights, each rounded by up to a half: 255 · (126 + 1) < 32,768
LEAST_SPREAD = 1e-30  # of a row, which is divided by it
ROWS_HINT = 64  # rows of the usual input, for which oneDNN chooses the layout
FBGEMM_ROWS = 120  # that its fp16 product multiplies at a time
MOST_MISSING = 6  # rows added to a product in fp16
FP16_RANGE = (1e-3, 65504.0)  # of the largest weight: smaller ones lose bits, and larger ones are out of range


class PackedLinear(nn.Module):
    """``x W^T + b``, fp32 in and out, multiplied in ``dtype``; no longer has a ``weight``.

    Args:
        activation: what the result goes through, "none" or "relu".
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32, activation: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features, self._dtype = linear.in_features, linear.out_features, dtype
        self._activation = activation
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), ROWS_HINT)
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, self._activation, [], "").float()


class Fp16Linear(nn.Module):
    """``x W^T + b`` with W rounded to fp16, multiplied and added in fp32: within 3e-4 of fp32."""

    def __init__(self, linear: nn.Linear, activation: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features, self._activation = linear.in_features, linear.out_features, activation
        bias = None if linear.bias is None else linear.bias.detach()
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach(), bias)

    def forward(self, x: Tensor) -> Tensor:
        products = torch.ops.quantized
        multiply = products.linear_dynamic_fp16 if self._activation == "none" else products.linear_relu_dynamic_fp16
        rows = x.numel() // self.in_features
        missing = _rows_missing()[rows % FBGEMM_ROWS]
        if not missing:
            return multiply(x, self._packed)
        filled = F.pad(x.reshape(rows, self.in_features), (0, 0, 0, missing))
        return multiply(filled, self._packed)[:rows].view(*x.shape[:-1], self.out_features)


@functools.cache
def _rows_missing() -> tuple[int, ...]:
    """By the number of rows, modulo ``FBGEMM_ROWS``: how many are added so that each gets the bits it has among many.

    FBGEMM has a kernel for each small number of rows, and some of them add in another order (of one and of two rows, on
    a Zen 3). Which ones do is found by trying.
    """
    weight = torch.linspace(-1, 1, 64 * 32).mul(100).cos().view(32, 64)  # nothing random: a training draws from that
    x = torch.linspace(-1, 1, 3 * FBGEMM_ROWS * 64).mul(1000).sin().view(-1, 64)
    packed = torch.ops.quantized.linear_prepack_fp16(weight, None)
    multiply = functools.partial(torch.ops.quantized.linear_dynamic_fp16, W_prepack=packed)
    among_many = multiply(x)
    is_same = [torch.equal(multiply(x[:rows]), among_many[:rows]) for rows in range(len(x))]
    is_right = [*map(all, zip(is_same, is_same[FBGEMM_ROWS:])), True]
    return tuple(is_right.index(True, rows) - rows for rows in range(FBGEMM_ROWS))


class Int8Linear(nn.Module):
    """``x W^T + b``, fp32 in and out, multiplied in int8: a scale and an offset per output of W and per row of ``x``.

    So a row gives the same whatever the others are. With normally distributed weights and inputs the result is within
    1 % of fp32 (with 2,048 inputs, whose range is wider, within 1.15 %); where the sums of this CPU saturate (see
    ``saturates``), smaller weights keep them exact: within 1.4 %. Rows whose range is below 1e-5 are rounded more
    coarsely.

    Args:
        after_relu: ``x`` goes through a ReLU first, and is overwritten; weights have no offset.
        few_rows: ``x`` usually has the few rows of a stream's step.
    """

    def __init__(self, linear: nn.Linear, after_relu: bool = False, few_rows: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.few_rows = linear.in_features, linear.out_features, few_rows
        weight = linear.weight.detach()
        choose = scales_within_16_bits if saturates() else _centered_scales if after_relu else _scales
        scales, offsets = choose(weight)
        codes = codes_of(weight, scales, offsets)
        sums = ((codes - offsets[:, None]).sum(dim=1) * scales).float()
        settings = sums, _bias(linear), after_relu
        self._multiply = (
            _AsFractions(FbgemmProduct(codes, scales, offsets), *settings)
            if few_rows
            else _AsBytes(_fastest_product(codes, scales, offsets), *settings)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)


@dataclass(eq=False)
class _AsBytes:
    """Rows (R, K) as bytes, whose quantization is one call: the fewest passes over many rows."""

    product: Int8Product
    sums: Tensor
    bias: Tensor
    after_relu: bool

    def __call__(self, x: Tensor) -> Tensor:
        if self.after_relu:
            x = x.relu_()
        # each row as bytes from 0 to 255, then in fp32 the step between two of them and the value of 0
        packed = torch.ops.quantized.embedding_bag_byte_prepack(x)
        words = packed if packed.size(1) % 4 == 0 else packed[:, -8:].clone(memory_format=torch.contiguous_format)
        step = words.view(torch.float32)[:, -2:-1]
        lowest = x.amin(dim=1, keepdim=True)  # NaN where any is, which bytes cannot tell
        product = self.product(packed[:, :-8].contiguous())
        return product.mul_(step).addcmul_(lowest, self.sums).add_(self.bias)


@dataclass(eq=False)
class _AsFractions:
    """Rows (R, K) brought to [0, 1], which FBGEMM rounds itself: the fewest calls for few rows."""

    product: FbgemmProduct
    sums: Tensor
    bias: Tensor
    after_relu: bool

    def __call__(self, x: Tensor) -> Tensor:
        if self.after_relu:
            spread = x.amax(dim=1, keepdim=True).clamp_(min=LEAST_SPREAD)
            return torch.addcmul(self.bias, self.product.of_fractions(x.div_(spread)), spread)
        lowest = x.amin(dim=1, keepdim=True)
        spread = x.amax(dim=1, keepdim=True).sub_(lowest).clamp_(min=LEAST_SPREAD)
        product = self.product.of_fractions((x - lowest).div_(spread))
        return torch.addcmul(self.bias, lowest, self.sums).addcmul_(product, spread)


def _bias(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()


class PackedFeedForward(nn.Module):
    """A ``FeedForward`` with ReLU whose layers are packed."""

    def __init__(self, layers: FeedForward, precision: str, few_rows: bool = False) -> None:
        super().__init__()
        is_int8 = precision == "int8"
        self.w_1 = _packed(layers.w_1, precision, "none" if is_int8 else "relu", few_rows)
        self.w_2 = Int8Linear(layers.w_2, True, few_rows) if is_int8 else _packed(layers.w_2, precision)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.w_1(x))


class PackedMemory(nn.Module):
    """A ``Memory`` packed once; its convolution adds the input, too, by a tap of one more at the frame itself.

    What streams read of a ``Memory`` is as it was.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.weight, self.kernel_size, self.left_right = memory.weight, memory.kernel_size, memory.left_right
        left, right = memory.left_right
        self._symmetric = left == right
        taps = memory.weight.detach().unsqueeze(2).clone()
        taps[:, 0, 0, left] += 1
        self._settings = [0, left if self._symmetric else 0], [1, 1], [1, 1], len(taps)
        shape = [1, len(taps), 1, ROWS_HINT]
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(taps, *self._settings, shape)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.size(1) == 0:
            return x
        if mask is not None:
            x = x * mask[:, :, None]
        if not self._symmetric:
            x = F.pad(x, (0, 0, *self.left_right))
        image = x.contiguous().transpose(1, 2).unsqueeze(2)  # which oneDNN would take longer to do
        convolve = torch.ops.mkldnn._convolution_pointwise
        remembered = convolve(image, self._packed, None, *self._settings, "none", [], "")
        return remembered.squeeze(2).transpose(1, 2)


class FbgemmProduct:
    """``x`` (..., K) in uint8 -> (..., N) in fp32: the product with ``scales`` (N,) times ``codes`` (N, K) less
    ``offsets`` (N,), by the engine of torch's quantized layers, which takes fp32 and rounds it."""

    def __init__(self, codes: Tensor, scales: Tensor, offsets: Tensor) -> None:
        with _quantized_tensors():
            weight = torch._make_per_channel_quantized_tensor(codes, scales, offsets.long(), 0)
        self._packed = torch.ops.quantized.linear_prepack(weight, None)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x.float(), 1.0, 0, self._packed)

    def of_fractions(self, x: Tensor) -> Tensor:
        """The product with ``x`` (..., K) in fp32, up to 1, rounded to steps of 1 / 255; less than 0 counts as 0."""
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x, 1 / 255, 0, self._packed)


class OnednnProduct:
    """The same by oneDNN, without offsets."""

    def __init__(self, codes: Tensor, scales: Tensor, offsets: Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(codes, [ROWS_HINT, codes.size(1)])
        self._scales, self._offsets = scales.float(), offsets.int()

    def __call__(self, x: Tensor) -> Tensor:
        weights = self._packed, self._scales, self._offsets
        return torch.ops.onednn.qlinear_pointwise(x, 1.0, 0, *weights, None, 1.0, 0, torch.float32, "none", [], "")


@contextlib.contextmanager
def _quantized_tensors() -> Iterator[None]:
    """Where torch says, once, that it plans to drop quantized tensors; the version is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


Int8Product = FbgemmProduct | OnednnProduct | OnnxRuntimeProduct


def _scales(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and offsets (O,) with which int8 reaches from the lowest to the largest weight of a row."""
    low, high = weight.amin(dim=1).clamp(max=0).double(), weight.amax(dim=1).clamp(min=0).double()
    scales = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    return scales, (-128 - low / scales).round().clamp(-128, 127)


def _centered_scales(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales (O,) with which int8 reaches to the weight of a row that is farthest from 0, and no offsets."""
    scales = (weight.abs().amax(dim=1).double() / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return scales, torch.zeros_like(scales)


def scales_within_16_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales (O,) with which 255 times two neighbors of one sign stays within 16 bits, and no offsets."""
    pairs = F.pad(weight, (0, weight.size(1) % 2)).unflatten(1, (-1, 2))
    largest = torch.maximum(pairs.clamp(min=0).sum(dim=2), pairs.clamp(max=0).sum(dim=2).neg()).amax(dim=1).double()
    scales = (largest / LARGEST_PAIR).clamp(min=torch.finfo(torch.float32).tiny)
    return scales, torch.zeros_like(scales)


def codes_of(weight: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    return (weight / scales[:, None] + offsets[:, None]).round_().clamp_(-128, 127).to(torch.int8)


@functools.cache
def saturates() -> bool:
    """Whether the int8 kernel of this CPU loses the sum of two large products.

    Without VNNI, x86 multiplies with ``vpmaddubsw``, which adds pairs of products in 16 bits: 2 · 255 · 127 is cut to
    32,767. What the kernel does is tried instead of asked: libraries choose theirs by CPU, shape and environment.
    """
    size = 64
    codes = torch.full((size, size), 127, dtype=torch.int8)
    for make in int8_products().values():
        product = make(codes, torch.full((size,), 1 / 127, dtype=torch.float64), torch.zeros(size))
        for rows in (1, ROWS_HINT):
            x = torch.full((rows, size), 255, dtype=torch.uint8)
            if float((product(x) / 255 - size).abs().max()) > 0.01 * size:
                return True
    return False


def int8_products() -> dict[str, type[Int8Product]]:
    """The kernels for int8 that there are on this CPU; their products of bytes are the same to the last bit."""
    found: dict[str, type[Int8Product]] = {}
    if _has_onnxruntime():
        found["onnxruntime"] = OnnxRuntimeProduct
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise"):
        found["onednn"] = OnednnProduct
    found["fbgemm"] = FbgemmProduct
    return found


def pack_linears(model: nn.Module, precision: str = "fp32", few_rows: bool = False) -> nn.Module:
    """Replace ``nn.Linear``, ``PointwiseConv`` and ``Memory`` in a model in fp32 on CPU by packed ones, in place.

    Elsewhere nothing changes. For models that will neither be trained nor saved again, and whose layers are called, not
    read.

    Args:
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``; layers with a single output (CIF's alphas) stay fp32.
        few_rows: the model usually computes the few rows of a stream's step.

    Raises:
        UsageError: a precision that this device cannot compute in.
    """
    check_precision(model, precision)
    if not torch.backends.mkldnn.is_available():
        return model
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is FeedForward and child.activation is F.relu and _is_plain(child.w_1, child.w_2):
                setattr(module, name, PackedFeedForward(child, precision, few_rows))
                continue
            if type(child) is Memory and _is_in_fp32(child.weight) and min(child.left_right) >= 0:
                setattr(module, name, PackedMemory(child))
                continue
            linear = child.as_linear() if type(child) is PointwiseConv else child
            if _is_plain(linear):
                setattr(
                    module, name, _packed(linear, precision if linear.out_features > 1 else "fp32", few_rows=few_rows)
                )
    return model


def _is_plain(*layers: nn.Module) -> bool:
    """Whether these are linear layers in fp32 on the CPU."""
    return all(type(layer) is nn.Linear and _is_in_fp32(layer.weight) for layer in layers)


def _is_in_fp32(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype is torch.float32


def _packed(linear: nn.Linear, precision: str, activation: str = "none", few_rows: bool = False) -> nn.Module:
    if precision == "int8":
        return Int8Linear(linear, few_rows=few_rows)
    if precision == "bf16":
        return PackedLinear(linear, torch.bfloat16, activation)
    (least, most), ways = FP16_RANGE, dict[str, Callable[[], nn.Module]]()
    what = "fp16" if precision == "fp16" and least <= float(linear.weight.abs().max()) <= most else "fp32"
    if what == "fp16":
        ways["fp16"] = lambda: Fp16Linear(linear, activation)
    if linear.weight.numel() >= LEAST_WEIGHTS and _has_onnxruntime():
        ways["onnxruntime"] = lambda: OnnxRuntimeLinear(linear, activation)
    ways["packed"] = lambda: PackedLinear(linear, activation=activation)
    ways["plain"] = lambda: linear if activation == "none" else nn.Sequential(linear, nn.ReLU(inplace=True))
    return ways[fastest(what, linear.in_features, linear.out_features, ways)]()


def _fastest_product(codes: Tensor, scales: Tensor, offsets: Tensor) -> Int8Product:
    """Which one it is changes no bit: it may be another where a process has more threads."""
    has_offsets = bool(offsets.any())
    kinds = {name: kind for name, kind in int8_products().items() if not (has_offsets and kind is OnednnProduct)}
    ways = {name: functools.partial(_from_fp32, kind, codes, scales, offsets) for name, kind in kinds.items()}
    outputs, inputs = codes.shape
    what = "int8-bytes-offsets" if has_offsets else "int8-bytes"
    return kinds[fastest(what, inputs, outputs, ways)](codes, scales, offsets)


def _from_fp32(kind: type[Int8Product], *weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A product to be timed, which happens with inputs in fp32."""
    product = kind(*weights)
    return lambda x: product(x.abs().mul_(255).to(torch.uint8))


def _has_onnxruntime() -> bool:
    """Whether layers may be left to onnxruntime, where each would have threads of its own: torch has only one."""
    return torch.get_num_threads() == 1 and can_use_onnxruntime()


def cpu_precisions() -> frozenset[str]:
    """The precisions of this CPU; asked only here, so that a test can simulate another CPU."""
    has_fbgemm = bool({"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines))
    able = {
        "fp32": True,
        "fp16": has_fbgemm and max(_rows_missing()) <= MOST_MISSING,
        "bf16": torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        "int8": has_fbgemm,
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
