"""An exported folder from beginning to end: graph, description, quantized graph, comparison, publication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from funrecipe.audio.io import read_audio
from funrecipe.checkpoint import load_weights
from funrecipe.data.kaldi_dir import read_data_dir, read_texts
from funrecipe.decode.onnx import HOTWORD_GRAPH
from funrecipe.errors import DataError, UsageError
from funrecipe.export.compare import Equality, compare_exported
from funrecipe.export.description import metadata, write_description
from funrecipe.export.graph import quantize, write_graph
from funrecipe.families import PUNCTUATION, find_family, load_part, names_with
from funrecipe.files import atomic_folder, write_json
from funrecipe.model_folder import ModelFolder
from funrecipe.models.registry import build_model, input_size

REPORT = "export.json"


def export_folder(
    folder: ModelFolder, target: Path, samples: Mapping[str, Any], *, quantized: bool, overwrite: bool = False
) -> dict[str, Equality]:
    """Export ``folder`` to ``target`` and compare both on ``samples``; the report is also written to ``export.json``.

    Args:
        samples: id -> (S,) float in [-1, 1] at the folder's rate; for a punctuation model id -> text.
        quantized: also write graphs in int8, which may say other tokens.
        overwrite: replace an exported folder.

    Raises:
        UsageError: the model cannot be exported, or a package is missing.
        DataError: the target holds something else, or there is nothing to compare on.
    """
    check_packages(target)
    if folder.is_exported:
        raise UsageError("this folder is already an export", where=str(folder.path), hint="give the original folder")
    if not samples:
        raise DataError("nothing to compare the models on", hint="give --data_dir with a wav.scp, or a text")
    if target.exists() and any(target.iterdir()) and not (overwrite and (target / REPORT).is_file()):
        raise DataError("the target is not empty", where=str(target), hint="pass --overwrite to replace an export")
    with atomic_folder(target) as new:
        network = export_network(folder)
        graphs = network.graphs(input_size(folder.config))
        for name, graph in graphs.items():
            write_graph(graph, new / name, metadata(folder))
        write_description(folder, new)
        report = {"fp32": compare_exported(folder, network, new, samples)}
        if quantized:
            for name in graphs.keys() - {HOTWORD_GRAPH}:
                quantize(new / name)
            report["int8"] = compare_exported(folder, network, new, samples, precision="int8")
        write_json(new / REPORT, {precision: equality.as_dict() for precision, equality in report.items()})
    return report


def read_samples(folder: ModelFolder, data_dir: Path, limit: int) -> dict[str, Any]:
    """What to compare the models on, by id: at most ``limit`` waveforms or texts, evenly spread; 0: all.

    Raises:
        DataError: lists or audio that cannot be read.
    """

    def spread(items: Sequence[Any]) -> Sequence[Any]:
        return items[:: max(1, len(items) // limit)][:limit] if limit else items

    if find_family(folder.family).task == PUNCTUATION:
        return dict(spread(list(read_texts(data_dir / "text").items())))
    chosen, rate_hz = spread(read_data_dir(data_dir).utterances), folder.sample_rate_hz
    return {u.utt_id: read_audio(u.audio, sample_rate_hz=rate_hz, start_s=u.start_s, end_s=u.end_s) for u in chosen}


def export_network(folder: ModelFolder) -> nn.Module:
    """The network of ``folder`` as it is written, with its weights.

    Raises:
        UsageError: the family, or this model of it, cannot be exported.
    """
    family = find_family(folder.family)
    if family.export is None:
        hint = f"families that can: {', '.join(names_with('export'))}"
        raise UsageError(f"models of family '{folder.family}' cannot be exported", where=str(folder.path), hint=hint)
    model = build_model(folder.config, len(folder.tokens))
    if family.export.endswith("ExportedCTC") and model.ctc is None:
        raise UsageError("a model without a CTC head cannot be exported", where=str(folder.path),
                         hint="give one with a CTC head; attention decoders are not one graph")  # fmt: skip
    load_weights(model, folder.weights)
    return load_part(family.export, "export")(model.eval().requires_grad_(False)).eval()


def check_packages(target: Path) -> None:
    """Raise a UsageError that names what exporting takes and is not installed."""
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            hint = "install it: pip install 'funrecipe[onnx]'"
            raise UsageError(f"the package {name} is not installed", where=str(target), hint=hint) from None
