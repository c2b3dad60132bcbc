"""CUDA graphs: a function of fixed shapes is recorded once per shape and replayed, which costs one launch.

A replay computes what eager calls compute, kernel for kernel, so it does not change results.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from funrecipe.processes import is_out_of_memory

log = logging.getLogger(__name__)

WARM_UPS = 2  # calls before recording, in which libraries choose kernels and take their workspaces


class Recorder:
    """The part of ``torch.cuda`` that records; tests replace it."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()  # shared: outputs are copied before another graph is replayed

    def warm_up(self, call: Callable[[], Any]) -> None:
        """Call it on a separate stream, as recording requires."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                call()
        torch.cuda.current_stream().wait_stream(stream)

    def graph(self) -> Any:
        return torch.cuda.CUDAGraph()

    def recording(self, graph: Any) -> AbstractContextManager[None]:
        # Only calls of this thread must not touch the device: copies of other threads may go on.
        return torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local")


@dataclass
class _Recorded:
    graph: Any
    rows: Sequence[Tensor]
    shared: Sequence[Any]  # kept alive, so that no other object can get the same id
    outputs: Any


class Graphs:
    """Calls ``function``, with a separate graph for every shape. Threads may share it.

    If recording fails (because the network reads a value from the device), all later calls are ordinary ones.
    """

    def __init__(self, function: Callable[..., Any], name: str, recorder: Recorder | None = None) -> None:
        self.function, self.name = function, name
        self._recorder = recorder
        self._recorded: dict[Hashable, _Recorded] = {}
        self._works = True
        self._lock = threading.Lock()

    def __call__(self, shape: Hashable, rows: Sequence[Tensor], shared: Sequence[Any] = ()) -> Any:
        """What the function returns for ``rows`` and then ``shared``.

        Args:
            rows: tensors that always have the same sizes for one ``shape``.
            shared: what is the same for all rows; recorded as it is, so that other objects make other graphs.
        """
        with self._lock:
            if not self._works:
                return self.function(*rows, *shared)
            key = (shape, tuple(map(id, shared)))
            found = self._recorded.get(key) or self._record(key, rows, shared)
            if found is None:
                return self.function(*rows, *shared)
            for mine, given in zip(found.rows, rows, strict=True):
                mine.copy_(given)
            found.graph.replay()
            return _clone(found.outputs)

    def release(self) -> None:
        """Forget all graphs and the memory that they hold."""
        with self._lock:
            self._recorded.clear()

    def _record(self, key: Hashable, rows: Sequence[Tensor], shared: Sequence[Any]) -> _Recorded | None:
        self._recorder = self._recorder or Recorder()
        mine = [tensor.clone() for tensor in rows]
        graph = self._recorder.graph()
        try:
            self._recorder.warm_up(lambda: self.function(*mine, *shared))
            with self._recorder.recording(graph):
                outputs = self.function(*mine, *shared)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._works = False
            self._recorded.clear()
            log.info("%s is computed without CUDA graphs: %s", self.name, str(error).partition("\n")[0])
            return None
        self._recorded[key] = _Recorded(graph, mine, shared, outputs)
        return self._recorded[key]


def _clone(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    copies = [_clone(output) for output in outputs]
    return type(outputs)(*copies) if hasattr(outputs, "_fields") else tuple(copies)
