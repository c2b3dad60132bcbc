"""Utterances side by side on a CPU: each is computed by itself, unpadded, but large layers take the rows of all.

For the rows of one utterance the weights of a large model are read from memory anew, which takes about as long as to
multiply them. So every utterance is a coroutine that runs the code of a single one. At a layer whose rows do not depend
on each other it waits until all others wait too; those at the same layer are then computed in one call, and go on.
Attention, convolutions over time and searches stay with their utterance: nothing is padded, and hypotheses and scores
are those of the utterance alone to the last bit. Where a layer's bits depend on how many rows there are
(:func:`_least_rows`), nobody waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

from funrecipe.models.onnx_products import OnnxRuntimeLinear
from funrecipe.models.packed import Fp16Linear, Int8Linear, PackedLinear

LAYERS = (PackedLinear, OnnxRuntimeLinear, Fp16Linear, Int8Linear)
BLOCK = {"w_1", "w_2"}  # layers of a feed-forward block: what it does between them, it does to each row
LEAST_WEIGHTS = 1 << 14  # of a layer worth waiting at
LARGE_MODEL = 8 << 20  # weights; those of a smaller model stay in the cache from one utterance to the next
MOST_ROWS = 600  # in one call, unless one utterance has more: 5 MB of 2,048 fp32 values a row
TRIED_ROWS = (2, 3, 5, 8, 17, 40, 75, 150)

Result = TypeVar("Result")
_least: dict[Any, int | None] = {}


class Meeting:
    """The ``forward`` of a module (..., D) -> (..., D') whose rows do not depend on each other."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        task = getcurrent()
        found = task.parent.switch(_Wish(self, x)) if isinstance(task, _Task) else None
        return self.alone(x) if found is None else found

    @functools.cached_property
    def least_rows(self) -> int | None:
        """See :func:`_least_rows`; tried once for all layers of a kind."""
        parts = [part for part in self.module.modules() if hasattr(part, "in_features")]
        shapes = [(type(part), part.in_features, part.out_features, getattr(part, "_dtype", None)) for part in parts]
        kind = (type(self.module), torch.get_num_threads(), *shapes)
        if kind not in _least:
            _least[kind] = _least_rows(self, parts[0].in_features)
        return _least[kind]

    def alone(self, x: Tensor) -> Tensor:
        """The module's own ``forward``."""
        return type(self.module).forward(self.module, x)

    def together(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`alone` gives for each of ``inputs``, computed in one call."""
        if len(inputs) == 1:
            return [self.alone(inputs[0])]
        rows = [x.reshape(-1, x.size(-1)) for x in inputs]
        outputs = self.alone(torch.cat(rows)).split([len(x) for x in rows])
        # what comes next is computed on memory aligned as it is alone, on which the bits of some kernels depend
        aligned = [output if output.data_ptr() % 64 == 0 else output.clone() for output in outputs]
        return [output.view(*x.shape[:-1], -1) for output, x in zip(aligned, inputs, strict=True)]


class _Wish:
    """What a coroutine waits for."""

    def __init__(self, meeting: Meeting, x: Tensor) -> None:
        self.meeting, self.x, self.rows = meeting, x, x.numel() // x.size(-1)

    def may_be_met(self) -> bool:
        return self.meeting.least_rows is not None and self.rows >= self.meeting.least_rows


class _Task(greenlet):
    """One utterance."""

    wish: _Wish | None = None

    def resume(self, output: Any = None) -> None:
        """Run until the end, or up to the next layer at which others may be met."""
        wish = self.switch(output)
        while not self.dead and not wish.may_be_met():
            wish = self.switch(None)
        self.wish = None if self.dead else wish


def meet(model: nn.Module) -> nn.Module:
    """Let :func:`side_by_side` compute the packed layers of ``model`` together, in place; alone nothing changes."""
    for module in model.modules():
        if _weights(module) >= LEAST_WEIGHTS:
            module.forward = Meeting(module)  # type: ignore[assignment]
    return model


def is_large(model: nn.Module) -> bool:
    """Whether utterances side by side are faster than padded ones: there are many weights in layers that meet."""
    return sum(_weights(module) for module in model.modules() if type(module) in LAYERS) >= LARGE_MODEL


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of ``tasks``, which take turns: whatever they share they may not change.

    An exception of one ends all, and is raised. All run in this thread, in the context of the call (inference mode).
    """
    results: dict[int, Result] = {}

    def run(number: int) -> None:
        results[number] = tasks[number]()

    running = [_Task(run) for _ in tasks]
    try:
        for number, task in enumerate(running):
            task.resume(number)
        while waiting := [task for task in running if not task.dead]:
            for task, output in _meet_once(waiting):
                task.resume(output)
    finally:
        for task in running:
            if not task.dead:
                task.throw(GreenletExit)
    return [results[number] for number in range(len(tasks))]


def _meet_once(waiting: Iterable[_Task]) -> list[tuple[_Task, Tensor]]:
    """Of the layers waited at, compute that at which most wait: the others are caught up with."""
    met: dict[Meeting, list[_Task]] = {}
    for task in waiting:
        met.setdefault(task.wish.meeting, []).append(task)
    meeting, tasks = max(met.items(), key=lambda item: len(item[1]))
    group: list[_Task] = []
    rows = 0
    for task in tasks:
        if group and rows + task.wish.rows > MOST_ROWS:
            break
        group.append(task)
        rows += task.wish.rows
    return list(zip(group, meeting.together([task.wish.x for task in group]), strict=True))


def _weights(module: nn.Module) -> int:
    """Of a module that is a place to meet; 0 of others."""
    layers = dict(module.named_children())
    if layers.keys() >= BLOCK:
        parts = [_weights(layers[name]) for name in BLOCK]
        return sum(parts) if all(parts) else 0
    return module.in_features * module.out_features if type(module) in LAYERS else 0


def _least_rows(meeting: Meeting, inputs: int) -> int | None:
    """From how many rows on a row has the same bits however many there are; None: not even then.

    This is tried: the kernels for one row are often others, and a layer may have one scale for all its inputs.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(MOST_ROWS, inputs, generator=generator) * torch.logspace(-2, 2, MOST_ROWS)[:, None]
    wanted, least = meeting.alone(x.clone()), None  # a layer may overwrite its input
    for rows in reversed(TRIED_ROWS):
        if not torch.equal(meeting.alone(x[:rows].clone()), wanted[:rows]):
            break
        least = rows
    return least
