"""A network that was exported, as a function of tensors, through onnxruntime."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from funrecipe.errors import DataError, UsageError


class OnnxModel(nn.Module):
    """A graph that maps tensors to tensors, on the CPU.

    Args:
        path: the file. onnxruntime gets as many threads as torch has.

    Attributes:
        input_shapes, output_shapes: in order; numbers, or names of dimensions that are open.

    Raises:
        UsageError: onnxruntime is not installed. DataError: not a graph that it can run.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            hint = "install it: pip install 'funrecipe[onnx]'"
            raise UsageError("the package onnxruntime is not installed", where=str(path), hint=hint) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise DataError(f"cannot read the ONNX model: {error}", where=str(path)) from None
        self.path, inputs = path, self.session.get_inputs()
        self.names = [item.name for item in inputs]
        self.input_shapes = [item.shape for item in inputs]
        self.output_shapes = [item.shape for item in self.session.get_outputs()]

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """Float tensors as float32, integers as int32, in the order of the graph's inputs."""
        arrays = [(x.float() if x.is_floating_point() else x.int()).cpu().numpy() for x in inputs]
        return [torch.from_numpy(array) for array in self.session.run(None, dict(zip(self.names, arrays, strict=True)))]
