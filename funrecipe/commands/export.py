"""``funrecipe export``: a model folder as ONNX, checked on real audio."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from funrecipe.model_folder import ModelFolder

Item = TypeVar("Item")
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
    from funrecipe.export.folder import export_folder
    from funrecipe.hub.resolve import open_model

    folder = open_model(args.model)
    read = read_texts if folder.family == "punc" else read_waves
    samples = read(folder, args.data_dir, args.utterances)
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


def read_waves(folder: ModelFolder, data_dir: Path, limit: int) -> dict[str, np.ndarray]:
    """Waveforms by utterance id, evenly spread over a data directory."""
    from funrecipe.audio.io import read_audio
    from funrecipe.data.kaldi_dir import read_data_dir

    rate_hz = folder.sample_rate_hz
    chosen = spread(read_data_dir(data_dir).utterances, limit)
    return {u.utt_id: read_audio(u.audio, sample_rate_hz=rate_hz, start_s=u.start_s, end_s=u.end_s) for u in chosen}


def read_texts(folder: ModelFolder, data_dir: Path, limit: int) -> dict[str, str]:
    """Texts by id, evenly spread over the ``text`` of a data directory."""
    from funrecipe.data import kaldi_dir

    return dict(spread(list(kaldi_dir.read_texts(data_dir / "text").items()), limit))


def spread(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """At most ``limit`` of ``items``, or all if it is 0."""
    return items[:: max(1, len(items) // limit)][:limit] if limit else items
