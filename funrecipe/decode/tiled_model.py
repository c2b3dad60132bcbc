"""A network whose methods are computed in tiles, in the precision and by the graphs of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from funrecipe.audio.frontend import WavFrontend
from funrecipe.decode.fixed_shapes import FixedShapes, Tile, in_blocks
from funrecipe.decode.graphs import Graphs
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.packed import cpu_precisions
from funrecipe.models.reduced import PRECISIONS, bf16_is_faster, computing_in, in_fp32, settle_gpu, store_in_bf16

TILE_FRAMES = 4096  # four minutes in frames of 60 ms, which is 1.5 TFLOP of a Paraformer-large
PAIRS = {"encode": 1, "predict": 1, "decode": 2}  # padded tensors with lengths that each method takes first
# Methods that are computed in the precision of the run, by graphs, and the part that each of them runs.
REDUCED = {"encode": "encoder", "decode": "decoder"}


def compute_in_tiles(
    model: nn.Module, methods: tuple[str, ...], tile: Tile, precision: str, device: torch.device
) -> nn.Module:
    """Make ``methods`` of a model for inference compute in tiles, encoder and decoder in ``precision``.

    CIF, whose running sums decide how many tokens there are, stays fp32, and so does every search.

    Raises:
        UsageError: a precision in which this model or device does not compute.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"{precision} is not supported on a GPU", where="precision", hint="use bf16, tf32 or fp32")
    if precision != "fp32" and not methods:
        what = f"models of this family are not computed in {precision} on a GPU"
        raise UsageError(what, where="precision", hint="use fp32")
    if device.type == "cuda":
        settle_gpu()
    for name in methods:
        if precision == "bf16" and name in REDUCED:
            store_in_bf16(getattr(model, REDUCED[name]))
        function = _in(precision if name in REDUCED else "fp32", getattr(model, name), device)
        graphs = Graphs(function, name) if device.type == "cuda" and name in REDUCED else None
        setattr(model, name, FixedShapes(function, tile, pairs=PAIRS[name], graphs=graphs))
    if methods and getattr(model, "ctc", None) is not None:
        model.ctc.log_probs = in_blocks(model.ctc.log_probs, tile)
    model.tile = tile if methods else None  # type: ignore[assignment]  # torch: a tensor or a module
    return model


def refuse_tiles_in(precision: str, model: nn.Module, what: str) -> None:
    """Raise a UsageError if ``model`` is in a precision that only its tiled methods support."""
    if precision != "fp32" and getattr(model, "tile", None) is not None:
        raise UsageError(f"{what} not computed in {precision} on a GPU", where="precision", hint="use fp32")


def why_not_bf16(folder: ModelFolder, device: str) -> str | None:
    """Why a model cannot use bf16 on a device, or None."""
    if folder.is_exported:
        return "since an exported model has no weights in bf16"
    if device != "cpu" and not folder.row.tiled:
        return f"since models of family '{folder.family}' are computed in fp32 on a GPU"
    if (device == "cpu" and "bf16" not in cpu_precisions()) or not bf16_is_faster(torch.device(device)):
        return f"since this {'CPU' if device == 'cpu' else 'GPU'} does not multiply bf16 faster"
    return None


def features_in_tiles(frontend: WavFrontend, tile: Tile) -> FixedShapes:
    """``frontend`` in tiles: fp32, in lengths of samples that follow from those of model frames."""
    device = next(frontend.buffers()).device
    function = _in("fp32", partial(frontend, by_shape=True), device)
    return FixedShapes(function, tile, unit=frontend.fbank.shift_samples * frontend.lfr_n)


def _in(precision: str, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        with computing_in(precision, device):
            outputs = function(*args)
        return outputs if hasattr(outputs, "_fields") else in_fp32(outputs)

    return call
