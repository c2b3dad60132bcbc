"""Matrix products on the CPU by onnxruntime, for layers of models that torch computes.

Where its kernels are the faster ones (``models.kernels`` tries that), a layer is a graph of one or two nodes, run by
one thread. Needs the packages ``onnx`` and ``onnxruntime``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

IR_VERSION, OPSET, OWN_OPSET = 8, 17, 1  # of the graphs, of ONNX's operators, of onnxruntime's own
OWN_DOMAIN = "com.microsoft"
FLOAT = np.dtype(np.float32)

Node = tuple[str, Sequence[str], str, Mapping[str, Any]]  # operator, inputs, output, attributes


@functools.cache
def can_use_onnxruntime() -> bool:
    """Tried: it may not be installed, have changed, or not be for this CPU."""
    try:
        _packs_fp32(64, 64)
        _packs_int8(64, 64)
        offsets = torch.ones(64)
        OnnxRuntimeProduct(torch.ones(64, 64, dtype=torch.int8), offsets, offsets)(torch.ones(1, 64, dtype=torch.uint8))
    except Exception:
        return False
    return True


class OnnxRuntimeLinear(nn.Module):
    """``x W^T + b`` in fp32.

    Args:
        activation: what the result goes through, "none" or "relu".
    """

    def __init__(self, linear: nn.Linear, activation: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach()
        self._product = _linear(linear.weight.detach(), bias, activation)
        if _packs_fp32(*linear.weight.shape):
            self._product.forget("weight")

    def forward(self, x: Tensor) -> Tensor:
        return self._product(x)


class OnnxRuntimeProduct:
    """The same as ``packed.FbgemmProduct``, to the last bit."""

    def __init__(self, codes: Tensor, scales: Tensor, offsets: Tensor) -> None:
        self._product = _int8_product(codes.t().contiguous(), scales.float(), offsets.to(torch.int8))
        if _packs_int8(*codes.shape):
            self._product.forget("weight")

    def __call__(self, x: Tensor) -> Tensor:
        return self._product(x)


class _Product:
    """A graph from ``x`` (..., inputs) to ``y`` (..., outputs) in fp32. Threads may share it.

    Args:
        weights: tensors that nodes name. They are not copied: the graph reads them where they are, except those that it
            has packed.
        dtype: of ``x``, float32 or uint8.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        weights: Mapping[str, Tensor],
        inputs: int,
        outputs: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        from onnx import helper
        from onnxruntime import GraphOptimizationLevel, InferenceSession, OrtDevice, OrtValue, SessionOptions

        self.dtype, self._array_dtype = dtype, np.dtype(str(dtype).removeprefix("torch."))
        x, y = (
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), [None, size])
            for name, kind, size in [("x", self._array_dtype, inputs), ("y", FLOAT, outputs)]
        )
        arrays = {name: weight.contiguous().numpy() for name, weight in weights.items()}
        made = [helper.make_node(operator, given, [to], **attributes) for operator, given, to, attributes in nodes]
        graph = helper.make_graph(made, "product", [x], [y], [_outside(name, array) for name, array in arrays.items()])
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OWN_DOMAIN, OWN_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        self._weights = {name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena, options.log_severity_level = False, 3
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        self._session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._inputs, self._outputs, self._device = inputs, outputs, OrtDevice.make("cpu", 0)._get_c_device()
        self._idle: list[Any] = []  # bindings, which only one thread at a time may use

    def forget(self, name: str) -> None:
        """Release a tensor that the graph does not read any more."""
        del self._weights[name]

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype is not self.dtype or x.shape[-1] != self._inputs:  # what is read is an address
            raise ValueError(f"{x.dtype} of {x.shape[-1]} values is not {self.dtype} of {self._inputs}")
        x, rows = x.contiguous(), x.numel() // self._inputs
        y = torch.empty(*x.shape[:-1], self._outputs)
        if rows:
            try:
                binding = self._idle.pop()
            except IndexError:
                binding = self._session.io_binding()
            inner = binding._iobinding  # the public methods look for the device in every call
            inner.bind_input("x", self._device, self._array_dtype, (rows, self._inputs), x.data_ptr())
            inner.bind_output("y", self._device, FLOAT, (rows, self._outputs), y.data_ptr())
            self._session.run_with_iobinding(binding)
            self._idle.append(binding)
        return y


def _linear(weight: Tensor, bias: Tensor | None, activation: str) -> _Product:
    weights = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    attributes: dict[str, Any] = {"transB": 1}
    if activation == "relu":
        attributes |= {"domain": OWN_DOMAIN, "activation": "Relu"}
    operator = "FusedGemm" if activation == "relu" else "Gemm"
    return _Product([(operator, ["x", *weights], "y", attributes)], weights, weight.size(1), len(weight))


def _int8_product(codes: Tensor, scales: Tensor, offsets: Tensor) -> _Product:
    """``codes`` is (K, N)."""
    weights = {"weight": codes, "one": torch.tensor(1.0), "scales": scales}
    given = ["x", "weight", "one", "scales"]
    if offsets.any():
        weights["offsets"] = offsets
        given += ["", "offsets"]
    nodes: list[Node] = [("MatMulIntegerToFloat", given, "y", {"domain": OWN_DOMAIN})]
    return _Product(nodes, weights, *codes.shape, torch.uint8)


@functools.cache
def _packs_fp32(outputs: int, inputs: int) -> bool:
    weight = torch.ones(outputs, inputs)
    return _packs(_linear(weight, None, "none"), weight, inputs)


@functools.cache
def _packs_int8(outputs: int, inputs: int) -> bool:
    codes, offsets = torch.ones(inputs, outputs, dtype=torch.int8), torch.zeros(outputs, dtype=torch.int8)
    return _packs(_int8_product(codes, torch.ones(outputs), offsets), codes, inputs)


def _packs(product: _Product, weight: Tensor, inputs: int) -> bool:
    """Whether a product of that shape no longer reads its weight, which is overwritten to find out."""
    x = torch.ones(1, inputs, dtype=product.dtype)
    before = product(x)
    weight.zero_()
    return torch.equal(product(x), before)


def _outside(name: str, array: np.ndarray) -> Any:
    """The description of a tensor whose values are handed over in memory; what it says of a file is not read."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    found = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": name, "offset": "0", "length": str(array.nbytes)}.items():
        found.external_data.add(key=key, value=value)
    return found
