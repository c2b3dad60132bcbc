"""An exported folder from beginning to end: graph, description, quantized graph, comparison, publication."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from funrecipe.decode.onnx import HOTWORD_GRAPH
from funrecipe.errors import DataError, UsageError
from funrecipe.export.compare import Equality, compare_exported
from funrecipe.export.onnx_graph import (
    GRAPH,
    export_network,
    quantize,
    write_description,
    write_graph,
    write_hotword_graph,
)
from funrecipe.files import atomic_folder, write_json
from funrecipe.model_folder import ModelFolder

REPORT = "export.json"


def export_folder(
    folder: ModelFolder, target: Path, waves: dict[str, np.ndarray], *, quantized: bool, overwrite: bool = False
) -> dict[str, Equality]:
    """Export ``folder`` to ``target`` and compare both on ``waves``; the report is also written to ``export.json``.

    Args:
        waves: id -> (S,) float in [-1, 1] at the folder's rate.
        quantized: also write a graph in int8, which may say other tokens.
        overwrite: replace an exported folder.

    Raises:
        UsageError: the model cannot be exported, or a package is missing.
        DataError: the target holds something else, or there is no audio.
    """
    check_packages(target)
    if folder.weights.suffix == ".onnx":
        raise UsageError("this folder is already an export", where=str(folder.path), hint="give the original folder")
    if not waves:
        raise DataError("no audio to compare the models on", hint="give --data_dir with a wav.scp")
    if target.exists() and any(target.iterdir()) and not (overwrite and (target / REPORT).is_file()):
        raise DataError("the target is not empty", where=str(target), hint="--overwrite replaces an exported folder")
    with atomic_folder(target) as new:
        network = export_network(folder)
        write_graph(network, folder, new / GRAPH)
        if "bias_embed" in network.inputs:
            write_hotword_graph(network, new / HOTWORD_GRAPH)
        write_description(folder, new)
        report = {"fp32": compare_exported(folder, network, new, waves)}
        if quantized:
            quantize(new / GRAPH)
            report["int8"] = compare_exported(folder, network, new, waves, precision="int8")
        write_json(new / REPORT, {precision: equality.as_dict() for precision, equality in report.items()})
    return report


def check_packages(target: Path) -> None:
    """Raise a UsageError that names what exporting takes and is not installed."""
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            hint = "install it: pip install 'funrecipe[onnx]'"
            raise UsageError(f"the package {name} is not installed", where=str(target), hint=hint) from None
