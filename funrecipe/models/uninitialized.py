"""Build a network whose weights will be loaded, without computing random ones first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class Uninitialized(TorchFunctionMode):
    """Inside ``with Uninitialized():`` initial values of parameters are not computed: their memory stays as it is.

    Only this thread is concerned. The ``meta`` device would do the same, but imports 830 modules of torch's compiler,
    which takes two seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")  # torch.nn.init names its argument, methods do not
        if isinstance(target, nn.Parameter) and name.endswith("_") and not name.endswith("__"):
            return target
        return func(*args, **kwargs)
