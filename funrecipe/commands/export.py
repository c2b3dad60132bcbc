"""``funrecipe export``: a model folder as ONNX, checked on real audio."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_UTTERANCES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="model folder, or an id of the model zoo that is on disk")
    parser.add_argument("--out", type=Path, required=True, help="the new folder")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="the only one so far")
    parser.add_argument("--quantize", choices=("int8",), help="also write graphs in int8")
    parser.add_argument(
        "--data_dir",
        type=Path,
        required=True,
        help="data directory with real audio to compare both models on (a punctuation model: text)",
    )
    parser.add_argument(
        "--utterances",
        type=int,
        default=DEFAULT_UTTERANCES,
        help="number of utterances or texts to compare (default: %(default)s; 0: all)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an exported folder")


def run(args: argparse.Namespace) -> int:
    from funrecipe.errors import DataError
    from funrecipe.export.folder import export_folder, read_samples
    from funrecipe.hub.resolve import open_model

    folder = open_model(args.model)
    samples = read_samples(folder, args.data_dir, args.utterances)
    report = export_folder(folder, args.out, samples, quantized=args.quantize == "int8", overwrite=args.overwrite)
    for precision, equality in report.items():
        print(f"{args.out}: {precision}: {equality}")
    if not report["fp32"].holds:
        raise DataError(
            "the exported model and the original give different results",
            where=str(args.out),
            hint="export.json lists the utterances that differ; the folder is kept for inspection",
        )
    return 0
