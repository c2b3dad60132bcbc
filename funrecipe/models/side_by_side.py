"""Utterances side by side on a CPU: each is computed by itself, unpadded, but large layers take the rows of all.

For the rows of one utterance the weights of a large model are read from memory anew, which takes about as long as to
multiply them. So every utterance is a coroutine that runs the code of a single one. At a layer whose rows do not depend
on each other, or that has a method ``side_by_side``, it waits until all others wait too; those at the same layer are
then computed in one call, and go on. Attention and searches stay with their utterance, and so do convolutions over
time, except SAN-M's memories, which read zeros between utterances: hypotheses and scores are those of the utterance
alone to the last bit. Where a layer's bits depend on how many rows there are (:func:`_least_rows`), nobody waits; the
layers inside are tried by themselves.
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
FEED_FORWARD = {"w_1", "w_2"}  # layers of such a module: what it does between them, it does to each row
LEAST_WEIGHTS = 1 << 14  # of a layer worth waiting at
LARGE_MODEL = 8 << 20  # weights; those of a smaller model stay in the cache from one utterance to the next
MOST_ROWS = 600  # in one call, unless one utterance has more: 5 MB of 2,048 fp32 values a row
TRIED_ROWS = (2, 3, 5, 8, 17, 40, 75, 150)

Result = TypeVar("Result")
_least: dict[Any, int | None] = {}


class Meeting:
    """The ``forward`` of a module (..., D) -> (..., D') whose rows do not depend on each other, or of one that has a
    method ``side_by_side(rows, lens)``, which gives what ``forward`` does for each of several utterances (1, T, D)
    without masks."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor, *masks: Tensor | None, **named_masks: Tensor | None) -> Tensor:
        task = getcurrent()
        if isinstance(task, _Task) and self._can_meet(x, *masks, *named_masks.values()):
            found = task.parent.switch(_Wish(self, x))
            if found is not None:
                return found
        return self.alone(x, *masks, **named_masks)

    def _can_meet(self, x: Tensor, *masks: Tensor | None) -> bool:
        return all(mask is None for mask in masks) and (len(x) == 1 or not _is_block(self.module))

    @functools.cached_property
    def _kind(self) -> tuple[Any, ...]:
        """What the bits of a layer may depend on, besides its weights."""
        names = ("in_features", "out_features", "_dtype", "few_rows", "heads", "left_right")
        parts = [(type(part), *(getattr(part, name, None) for name in names)) for part in self.module.modules()]
        return torch.get_num_threads(), *parts

    def is_same_among_others(self, x: Tensor) -> bool:
        """Whether the rows of ``x`` have the same bits among others; tried once for all layers of a kind."""
        kind = (self._kind, x.size(-1))
        if kind not in _least:
            _least[kind] = _least_rows(self, x.size(-1))
        least = _least[kind]
        return least is not None and x.numel() // x.size(-1) >= least

    def alone(self, x: Tensor, *masks: Tensor | None, **named_masks: Tensor | None) -> Tensor:
        """The module's own ``forward``."""
        return type(self.module).forward(self.module, x, *masks, **named_masks)

    def together(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`alone` gives for each of ``inputs``, computed in one call."""
        if len(inputs) == 1:
            return [self.alone(inputs[0])]
        rows = [x.reshape(-1, x.size(-1)) for x in inputs]
        lens = [len(x) for x in rows]
        joined = _join(rows)
        outputs = self.module.side_by_side(joined, lens) if _is_block(self.module) else self.alone(joined)  # type: ignore[operator]
        # what comes next is computed on memory aligned as it is alone, on which the bits of some kernels depend
        aligned = [output if output.data_ptr() % 64 == 0 else output.clone() for output in outputs.split(lens)]
        return [output.view(*x.shape[:-1], -1) for output, x in zip(aligned, inputs, strict=True)]


def _join(parts: Sequence[Tensor]) -> Tensor:
    """``parts`` (rows, D), one after another. Those that lie so in memory, as the last layer left them, stay there."""
    first, end = parts[0], parts[0].data_ptr()
    memory = first.untyped_storage().data_ptr()
    for part in parts:
        if part.data_ptr() != end or not part.is_contiguous() or part.untyped_storage().data_ptr() != memory:
            return torch.cat(list(parts))
        end += part.nbytes
    return first.as_strided((sum(map(len, parts)), first.size(1)), first.stride(), first.storage_offset())


class _Wish:
    """What a coroutine waits for."""

    def __init__(self, meeting: Meeting, x: Tensor) -> None:
        self.meeting, self.x, self.rows = meeting, x, x.numel() // x.size(-1)


class _Task(greenlet):
    """One utterance."""

    wish: _Wish | None = None

    def resume(self, output: Any = None) -> None:
        """Run until the end, or up to the next layer at which others may be met."""
        wish = self.switch(output)
        while not self.dead and not wish.meeting.is_same_among_others(wish.x):
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


def _is_block(module: nn.Module) -> bool:
    return hasattr(module, "side_by_side")


def _weights(module: nn.Module) -> int:
    """Of a module that is a place to meet; 0 of others."""
    if type(module) in LAYERS:
        return module.in_features * module.out_features
    layers = dict(module.named_children())
    if layers.keys() >= FEED_FORWARD:
        parts = [_weights(layers[name]) for name in FEED_FORWARD]
        return sum(parts) if all(parts) else 0
    return sum(_weights(part) for part in module.modules() if type(part) in LAYERS) if _is_block(module) else 0


def _least_rows(meeting: Meeting, width: int) -> int | None:
    """From how many rows on a row has the same bits however many there are; None: not even then.

    This is tried: the kernels for one row are often others, and a layer may have one scale for all its inputs.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, MOST_ROWS, width, generator=generator) * torch.logspace(-2, 2, MOST_ROWS)[:, None]
    parts = x.split([*TRIED_ROWS, MOST_ROWS - sum(TRIED_ROWS)], dim=1)
    together, least = meeting.together([part.clone() for part in parts]), None  # a layer may overwrite its input
    for part, found in zip(reversed(parts), reversed(together), strict=True):
        if not torch.equal(meeting.alone(part.clone()), found):
            break
        least = part.size(1)
    return least
