"""Low-rank adaptation (Hu et al. 2022): train small additions to linear layers, then merge them into the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import UsageError
from funrecipe.train.adapt.pronunciations import SharedOutput


class LoraLinear(nn.Linear):
    """``W x + b + (alpha / rank) B A x`` with W and b frozen. B starts at zero: at first the function is the same.

    Keys: ``weight`` and ``bias`` as before, ``lora_a`` (rank, in), ``lora_b`` (out, rank).
    """

    ADDITIONS = ("lora_a", "lora_b")

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def merged_weight(self) -> Tensor:
        return self.weight + self.scale * self.lora_b @ self.lora_a


def inject(model: nn.Module, targets: Sequence[str], rank: int, alpha: float) -> list[str]:
    """Freeze the model and add to the linear layers whose last name part is in ``targets``; returns their names.

    Raises:
        UsageError: no layer has such a name, or the rank is above that of every such layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    if not chosen:
        named = sorted({name.split(".")[-1] for name in linear})
        raise UsageError(
            f"lora_targets: no linear layer is called {', '.join(targets)}", hint=f"this model has {', '.join(named)}"
        )
    largest = max(min(model.get_submodule(name).weight.shape) for name in chosen)
    if rank > largest:
        said = f"lora_rank is {rank}, and no weight that gets additions has a rank above {largest}"
        raise UsageError(said, hint=f"give an integer from 1 to {largest}; much less is usual, such as 8")
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoraLinear(model.get_submodule(name), rank, alpha))
    return chosen


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict with the additions merged in, under the names of the plain model."""
    state = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, (LoraLinear, SharedOutput)):
            state[f"{name}.weight"] = module.merged_weight().detach()
            for addition in module.ADDITIONS:
                del state[f"{name}.{addition}"]
    return state
