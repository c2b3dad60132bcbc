"""One function as an ONNX graph: tracing, names, open dimensions, int8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from funrecipe.models.packed import codes_of, scales_within_16_bits

OPSET = 17
GRAPH, QUANTIZED_SUFFIX = "model.onnx", "_quant"


@dataclass(frozen=True)
class Graph:
    """A function to write.

    Attributes:
        network: the function; example: inputs that it is traced with.
        inputs, outputs: names, in order.
        axes: name -> dimension -> what its size is called; other dimensions are fixed.
    """

    network: nn.Module
    example: tuple[Tensor, ...]
    inputs: Sequence[str]
    outputs: Sequence[str]
    axes: Mapping[str, Mapping[int, str]]


def write_graph(graph: Graph, path: Path, metadata: Mapping[str, str]) -> None:
    """Trace the function; ``metadata`` is what sherpa-onnx wants to know."""
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of Python values that are constants here
        torch.onnx.export(
            graph.network, graph.example, str(path), input_names=list(graph.inputs), output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in graph.axes.items()}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    written = onnx.load(str(path))
    for key, value in metadata.items():
        entry = written.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(written, str(path))


def quantize(path: Path) -> Path:
    """Matrix products in int8 with signed weights quantized per output; returns the file beside ``path``.

    CPUs with VNNI multiply signed weights twice as fast as unsigned ones; so that they are exact on others, too, no sum
    of two products leaves 16 bits. What counts tokens (CIF) stays float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    counting = [node.name for node in onnx.load(str(path)).graph.node if "cif_output" in node.name]
    target, root = path.with_name(f"{path.stem}{QUANTIZED_SUFFIX}.onnx"), logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime gives advice on the root logger
    quantize_dynamic(
        path, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
        nodes_to_exclude=counting,
    )  # fmt: skip
    root.setLevel(level)
    _keep_sums_within_16_bits(target, path)
    return target


def _keep_sums_within_16_bits(quantized: Path, path: Path) -> None:
    """Quantize the weights of ``path`` once more, with larger scales, into the graph ``quantized``."""
    import onnx
    from onnx.numpy_helper import from_array, to_array

    weights = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    model = onnx.load(str(quantized))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            name = node.input[1].removesuffix("_quantized")
            weight = torch.from_numpy(to_array(weights[name]).T.copy())
            scales, offsets = scales_within_16_bits(weight)
            new = {"_quantized": codes_of(weight, scales, offsets).t().contiguous(), "_scale": scales.float()}
            for suffix, values in new.items():
                tensors[name + suffix].CopyFrom(from_array(values.numpy(), name + suffix))
    onnx.save(model, str(quantized))
