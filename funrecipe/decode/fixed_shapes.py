"""Batches computed in shapes that depend on each utterance alone, so that no neighbor changes a bit of its result.

A matrix product rounds by the kernel that it runs in, and the kernel is chosen by the shape. In fp32 the difference is
in the last bits; in bf16 it changes tokens. Here an utterance is padded to a length of a fixed grid, chosen by its own
length, and computed in a tile of as many rows as belong to that length, filled up where there are fewer utterances.
Shapes are then few as well, and each can be a CUDA graph (:mod:`funrecipe.decode.graphs`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from funrecipe.decode.graphs import Graphs
from funrecipe.models.layers import masks_always
from funrecipe.processes import is_out_of_memory

log = logging.getLogger(__name__)

SHORTEST_FRAMES = 8  # the grid's first length and smallest step; tensor cores want multiples of it
LENGTHS_PER_OCTAVE = 4


def padded_length(length: int) -> int:
    """The length of the grid that ``length`` is padded to: four per octave, all multiples of 8."""
    step = max(SHORTEST_FRAMES, (1 << max(length - 1, 1).bit_length() - 1) // LENGTHS_PER_OCTAVE)
    return max(1, -(-length // step)) * step


@dataclass
class Tile:
    """How much is computed at once.

    Attributes:
        frames: model frames, padding included, whatever the lengths.
        lock: held while a batch has the device; another may become text meanwhile.
        graphs: of all functions that compute in such tiles.
    """

    frames: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    graphs: list[Graphs] = field(default_factory=list)

    def rows(self, padded_frames: int) -> int:
        """Rows of a tile of utterances of ``padded_frames``."""
        return max(1, self.frames // padded_frames)

    def release_memory(self) -> None:
        """Release the memory that the graphs and torch hold."""
        for graphs in self.graphs:
            graphs.release()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def halve(self) -> None:
        """Compute smaller tiles from now on, because memory ran out."""
        self.frames = max(1, self.frames // 2)
        log.warning(
            "out of memory: computing %d frames at a time from now on, which can change the last bits", self.frames
        )


class FixedShapes:
    """A function of padded batches, in tiles.

    The function takes ``pairs`` of ``x`` (B, L, ...) and lengths (B,), then vectors (B,) that belong to the rows, then
    what all rows share. It returns a tensor or a tuple of tensors, (B,) or padded (B, L, ...), and so does this.

    Args:
        unit: how many steps of the first pair make one model frame.
        graphs: computes a tile by a graph; None: by calling the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        tile: Tile,
        *,
        pairs: int = 1,
        unit: int = 1,
        graphs: Graphs | None = None,
    ) -> None:
        self.function, self.tile, self.pairs, self.unit, self.graphs = function, tile, pairs, unit, graphs
        if graphs:
            tile.graphs.append(graphs)

    def __call__(self, *args: Any) -> Any:
        """Raises MemoryError if not even a tile of one row fits."""
        lens = [args[2 * pair + 1].tolist() for pair in range(self.pairs)]
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, row_lens in enumerate(zip(*lens, strict=True)):
            rows_of.setdefault(self.shape_of(row_lens), []).append(row)
        while True:
            try:
                parts = [part for shape, rows in rows_of.items() for part in self._tiles(shape, rows, args)]
                return _join(parts, len(lens[0]))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # outside the except clause, whose traceback keeps the memory of the failed call alive
            self.tile.release_memory()
            if all(self.tile.rows(shape[0] // self.unit) == 1 for shape in rows_of):
                raise MemoryError(reason)
            self.tile.halve()

    def tile_of(self, length: int) -> tuple[tuple[int, ...], int]:
        """The shape and the number of rows of the tile that a row of ``length`` belongs to."""
        shape = self.shape_of([length])
        return shape, self.tile.rows(shape[0] // self.unit)

    def shape_of(self, lens: Sequence[int]) -> tuple[int, ...]:
        """The padded lengths of an utterance of ``lens``: on the grid for the first; for others (tokens, of which there
        is at most one per frame, and rarely one in two frames) half as many, or one more than as many."""
        first = padded_length(-(-lens[0] // self.unit))
        sizes = (first // 2, first + 1)
        others = [min([size for size in sizes if size >= n], default=padded_length(n)) for n in lens[1:]]
        return (first * self.unit, *others)

    def _tiles(
        self, shape: tuple[int, ...], rows: Sequence[int], args: Sequence[Any]
    ) -> list[tuple[Sequence[int], Any]]:
        size = self.tile.rows(shape[0] // self.unit)
        parts: list[tuple[Sequence[int], Any]] = []
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            filled = [*chosen, *[chosen[0]] * (size - len(chosen))]
            row_args, shared = self._select(filled, shape, args)
            with masks_always():
                if self.graphs:
                    parts.append((chosen, self.graphs((size, *shape), row_args, shared)))
                else:
                    parts.append((chosen, self.function(*row_args, *shared)))
        return parts

    def _select(
        self, rows: Sequence[int], shape: tuple[int, ...], args: Sequence[Any]
    ) -> tuple[list[Tensor], Sequence[Any]]:
        """The arguments of some rows in their shape, and those that belong to no row."""
        selected: list[Tensor] = []
        index = {device: torch.tensor(rows, device=device) for device in {arg.device for arg in args[: 2 * self.pairs]}}
        for number, arg in enumerate(args):
            pair, is_lens = divmod(number, 2)
            if pair >= self.pairs and not (isinstance(arg, Tensor) and arg.dim() == 1):
                return selected, args[number:]
            chosen = arg[index[arg.device]]
            selected.append(chosen if pair >= self.pairs or is_lens else _fit(chosen, shape[pair]))
        return selected, ()


def in_blocks(function: Callable[[Tensor], Tensor], tile: Tile) -> Callable[[Tensor], Tensor]:
    """A function of rows (N, D) -> (N, V) over ``x`` (B, L, D), as many of its rows at once as ``tile`` has frames."""

    def call(x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        padded = F.pad(rows, (0, 0, 0, -len(rows) % tile.frames))
        computed = torch.cat([function(block) for block in padded.split(tile.frames)])
        return computed[: len(rows)].unflatten(0, x.shape[:2])

    return call


def _fit(x: Tensor, length: int) -> Tensor:
    """``x`` (B, L, ...) cut or padded with zeros to ``length``."""
    if x.size(1) >= length:
        return x[:, :length].contiguous()
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, length - x.size(1)))


def _join(parts: Sequence[tuple[Sequence[int], Any]], count: int) -> Any:
    """The outputs of all rows in their order; those of the rows that filled a tile are dropped."""
    first = parts[0][1]
    if isinstance(first, Tensor):
        return _join_tensors(parts, count)
    joined = [_join_tensors([(rows, output[i]) for rows, output in parts], count) for i in range(len(first))]
    return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)


def _join_tensors(parts: Sequence[tuple[Sequence[int], Tensor]], count: int) -> Tensor:
    first = parts[0][1]
    if len(parts) == 1 and list(parts[0][0]) == list(range(count)):
        return first[:count]
    shape = first.shape[1:] if first.dim() == 1 else (max(output.size(1) for _, output in parts), *first.shape[2:])
    joined = first.new_zeros(count, *shape)
    for rows, output in parts:
        index = torch.tensor(rows, device=output.device)
        if first.dim() == 1:
            joined[index] = output[: len(rows)]
        else:
            joined[index, : output.size(1)] = output[: len(rows)]
    return joined
