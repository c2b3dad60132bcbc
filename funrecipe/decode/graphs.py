"""CUDA graphs: a function of fixed shapes is recorded once per shape and replayed, which costs one launch.

A replay computes what eager calls compute, kernel for kernel, so it does not change results.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from funrecipe.processes import is_out_of_memory

log = logging.getLogger(__name__)

aten = torch.ops.aten
ASKING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2}
INDEXING = {aten.index, aten.index_put, aten.index_put_}
COPYING = {aten._to_copy, aten.copy_}


class Recorder:
    """The part of ``torch.cuda`` that records; tests replace it.

    All graphs share a pool of memory, since outputs are copied before another graph is replayed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self.renew()

    def renew(self) -> None:
        """Take another pool: one whose graphs are all gone can never be recorded in again."""
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, call: Callable[[], Any]) -> tuple[Any, Any]:
        """The graph of ``call``, whose kernels do not run now, and what it returns.

        Not by ``torch.cuda.graph``, which waits for the device, gives all free memory back each time and, after an
        error, leaves the thread on the stream of the recording.
        """
        if torch.cuda.mem_get_info(self._device)[0] < torch.cuda.memory_reserved(self._device):
            torch.cuda.empty_cache()  # a recording cannot use what torch has free
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):  # and on its device
            # Only calls of this thread must not touch the device: copies of other threads may go on.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                outputs = call()
            finally:
                self._end(graph)
        current.wait_stream(self._stream)
        return graph, outputs

    def _end(self, graph: Any) -> None:
        try:
            graph.capture_end()
        except RuntimeError:  # torch then goes on taking memory for this recording, and never frees any again
            with contextlib.suppress(RuntimeError, AttributeError):  # older versions of torch lack it
                torch._C._cuda_endAllocateToPool(self._stream.device_index, self._pool)
            raise


class _Watch(TorchDispatchMode):
    """Notes the first operation for which the CPU waits for the device: it cannot be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = ""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not self.asks and _waits(func.overloadpacket, args, outputs):
            self.asks = str(func)
        return outputs


def _waits(operation: Any, args: Sequence[Any], outputs: Any) -> bool:
    if operation in COPYING:
        return len({x.device for x in (*args, outputs) if isinstance(x, Tensor)}) > 1
    if operation in INDEXING:  # the number of elements of a mask
        return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
    return operation in ASKING


@dataclass
class _Recorded:
    graph: Any
    rows: Sequence[Tensor]
    outputs: Any


class Graphs:
    """Calls ``function``, with a separate graph for every shape. Threads may share it.

    The first call of a shape is an ordinary one, in which libraries load kernels and take their workspaces; so is the
    first call of a thread, which has handles of its own. If the function waits for the device in its very first call,
    or recording fails, all later calls are ordinary ones.
    """

    def __init__(self, function: Callable[..., Any], name: str, recorder: Recorder | None = None) -> None:
        self.function, self.name = function, name
        self._recorder = recorder
        self._recorded: dict[Hashable, _Recorded] = {}
        # Shapes with what is shared, which is kept so that no other object gets its id.
        self._called: dict[Hashable, Sequence[Any]] = {}
        self._threads: set[int] = set()
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
            if key not in self._called or threading.get_ident() not in self._threads:
                return self._call(key, rows, shared)
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
            if self._recorder:
                self._recorder.renew()

    def _call(self, key: Hashable, rows: Sequence[Tensor], shared: Sequence[Any]) -> Any:
        if self._called:
            outputs = self.function(*rows, *shared)
        else:
            with _Watch() as watch:
                outputs = self.function(*rows, *shared)
            if watch.asks:
                self._give_up(f"{watch.asks} waits for the device")
        self._called[key] = shared
        self._threads.add(threading.get_ident())
        return outputs

    def _record(self, key: Hashable, rows: Sequence[Tensor], shared: Sequence[Any]) -> _Recorded | None:
        self._recorder = self._recorder or Recorder(rows[0].device)
        mine = [tensor.clone() for tensor in rows]
        try:
            graph, outputs = self._recorder.record(lambda: self.function(*mine, *shared))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._give_up(str(error).partition("\n")[0])
            return None
        self._recorded[key] = _Recorded(graph, mine, outputs)
        return self._recorded[key]

    def _give_up(self, reason: str) -> None:
        self._works = False
        self._recorded.clear()
        log.info("%s is computed without CUDA graphs: %s", self.name, reason)


def _clone(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    copies = [_clone(output) for output in outputs]
    return type(outputs)(*copies) if hasattr(outputs, "_fields") else tuple(copies)
