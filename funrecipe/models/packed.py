"""Linear layers for inference on CPU with weights in oneDNN's own layout.

torch's ``F.linear`` multiplies fp32 with MKL and packs the weight anew in every call; oneDNN packs it once. On the Zen
CPUs measured it is 1.2 times as fast with a few hundred rows and two to three times with the ten or twenty rows of a
streaming step (``tools/bench/bench_streaming.py``). Results differ in the last bits only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROWS_HINT = 64  # rows of the usual input, for which oneDNN chooses the layout


class PackedLinear(nn.Module):
    """``x W^T + b`` for fp32 inference on CPU; has no ``weight`` any more."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS_HINT)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")


def pack_linears(model: nn.Module) -> nn.Module:
    """Replace every ``nn.Linear`` of a model in fp32 on CPU by a packed one, in place; elsewhere nothing changes.

    For models that will neither be trained nor saved again, and whose layers are called, not read.
    """
    if not torch.backends.mkldnn.is_available():
        return model
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.weight.device.type == "cpu" and child.weight.dtype is torch.float32:
                setattr(module, name, PackedLinear(child))
    return model
