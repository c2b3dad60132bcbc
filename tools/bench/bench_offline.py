"""Speed of a Paraformer-large-sized model on whole utterances with one CPU thread, waveform to text.

    .venv/bin/python -m tools.bench.bench_offline [--peer_python OTHER_VENV/bin/python] [--sides funrecipe:fp32,…]

All sides get the same model (random weights) and the same real utterances in turns (``tools/bench/sides.py``), one at a
time and in batches of similar length, as jobs form them; of several sizes, each side's fastest counts. ``onnxruntime``
is the exported model in our recognizer. The peer's Python needs ``torch``, ``funasr`` (1.4.16 was used) and
``kaldi-native-fbank``; ``FunASR:int8`` is its model after ``quantize_dynamic``. Exits with 1 where fp32 results differ,
or ours in a batch from those one at a time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.bench.large_model import GFLOP_PER_S, OFFLINE, SAMPLE_RATE_HZ, export, make_folder, speech
from tools.bench.sides import Side, cpu_s, in_turns, measured_peaks, print_table, ratio, results, serve, sides_here

DEFAULT_SIDES = "funrecipe:fp32,onnxruntime:fp32,FunASR:fp32,funrecipe:fp16"


Recognize = Callable[[Sequence[Any]], list[str]]


def funrecipe(folder: Path, precision: str) -> Recognize:
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_recognizer(open_model_folder(folder), options=DecodeOptions(precision=precision))
    return lambda waves: ["".join(found.tokens) for found in recognizer.transcribe(waves)]


def funasr(folder: Path, precision: str) -> Recognize:
    import torch
    from funasr import AutoModel

    auto = AutoModel(model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR")
    if precision == "int8":
        torch.ao.quantization.quantize_dynamic(auto.model, {torch.nn.Linear}, inplace=True)
    return lambda waves: [
        found["text"].replace(" ", "") for found in auto.generate(input=list(waves), batch_size=len(waves))
    ]


def work_of(side: str, folder: Path, waves_file: Path) -> Callable[[Sequence[int]], list[str]]:
    """``work((first, end)) -> texts`` of one side."""
    import numpy as np

    name, precision = side.split(":")
    folder = folder / ("onnx" if name == "onnxruntime" else "torch")
    recognize = (funasr if name == "FunASR" else funrecipe)(folder, precision)
    with np.load(waves_file) as archive:
        waves = [archive[key] for key in archive.files]
    return lambda rows: recognize(waves[slice(*rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it FunASR is left out")
    parser.add_argument("--sides", default=DEFAULT_SIDES, help="NAME:PRECISION, ...; the first is compared with all")
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--batch_sizes", default="8", help="besides 1, separated by commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return serve(lambda: work_of(args.side, args.folder, args.folder / "waves.npz"))
    with tempfile.TemporaryDirectory() as name:
        return compare(args, Path(name))


def compare(args: argparse.Namespace, folder: Path) -> int:
    """Measure, print a line per side; the exit code."""
    import numpy as np

    wanted = sides_here(args.sides, args.peer_python)
    (folder / "torch").mkdir()
    make_folder(folder / "torch", OFFLINE)
    if any(side.startswith("onnxruntime") for side in wanted):
        export(folder / "torch", folder / "onnx")
    waves = speech(args.utterances)
    np.savez(folder / "waves.npz", *waves)
    sides = []
    for side in wanted:
        python = args.peer_python if side.startswith("FunASR") else sys.executable
        sides.append(Side(side, python, "tools.bench.bench_offline", ["--side", side, "--folder", str(folder)]))
    sizes = [1, *map(int, args.batch_sizes.split(","))]
    requests = [(first, first + size) for size in sizes for first in range(0, len(waves), size)]
    answers = in_turns(sides, requests, args.rounds)
    for side in sides:
        side.end()
    seconds = sum(map(len, waves)) / SAMPLE_RATE_HZ
    by_size = {side: _by_size(answers[side], sizes, len(waves)) for side in wanted}
    conditions = f"one thread, {len(waves)} utterances ({seconds:.0f} s), {args.rounds} rounds"
    columns = ["times real time, one at a time", "share of the peak", f"time relative to {wanted[0]}"]
    columns += ["times real time in batches", "of", f"time relative to {wanted[0]}"]
    print_table(conditions, columns, [_row(side, by_size, seconds, wanted[0]) for side in wanted])
    texts: dict[str, dict[int, list[str]]] = {
        side: {size: sum(results(found), []) for size, found in by_size[side].items()} for side in wanted
    }
    exact = [side for side in wanted if side.endswith(":fp32")]
    differing = [side for side in exact if texts[side][1] != texts[exact[0]][1]]
    print(f"texts in fp32 {'differ: ' + ', '.join(differing) if differing else 'agree'}")
    ours = [side for side in wanted if side.startswith("funrecipe:")]
    changed = [side for side in ours if any(found != texts[side][1] for found in texts[side].values())]
    print(f"texts in batches {'differ: ' + ', '.join(changed) if changed else 'are those one at a time'}")
    return 1 if differing or changed else 0


def _by_size(answers: Sequence[Any], sizes: Sequence[int], utterances: int) -> dict[int, Sequence[Any]]:
    """Batch size -> the answers to its requests."""
    found, begin = {}, 0
    for size in sizes:
        end = begin + -(-utterances // size)
        found[size], begin = answers[begin:end], end
    return found


def _row(side: str, by_size: dict[str, dict[int, Sequence[Any]]], seconds: float, first: str) -> list[str]:
    """A line of the table."""
    best = {name: min((cpu_s(found), size) for size, found in by_size[name].items() if size > 1) for name in by_size}
    speed, precision = seconds / cpu_s(by_size[side][1]), side.split(":")[1]
    share, relative = speed * GFLOP_PER_S / measured_peaks()[precision], ratio(by_size[first][1], by_size[side][1])
    in_batches, size = best[side]
    cells = [f"{speed:.1f}", f"{share:.0%}", f"{relative:.2f}", f"{seconds / in_batches:.1f}", str(size)]
    return [side, *cells, f"{in_batches / best[first][0]:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
