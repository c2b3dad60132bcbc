"""Speed of a Paraformer-large-sized model on whole utterances with one CPU thread, waveform to text.

    .venv/bin/python -m tools.bench.bench_offline [--peer_python OTHER_VENV/bin/python] [--sides funrecipe:fp32,…]

All sides get the same model (random weights) and the same real utterances, one at a time and in turns
(``tools/bench/sides.py``). ``onnxruntime`` is the exported model in our recognizer. The peer's Python needs ``torch``,
``funasr`` (1.4.16 was used) and ``kaldi-native-fbank``; ``FunASR:int8`` is its model after ``quantize_dynamic``. Exits
with 1 where fp32 results differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.large_model import GFLOP_PER_S, OFFLINE, SAMPLE_RATE_HZ, export, make_folder, speech
from tools.bench.sides import Side, cpu_s, in_turns, measured_peaks, print_table, ratio, results, serve

DEFAULT_SIDES = "funrecipe:fp32,onnxruntime:fp32,FunASR:fp32"


def funrecipe(folder: Path, precision: str) -> Callable[[Any], str]:
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_recognizer(open_model_folder(folder), options=DecodeOptions(precision=precision))
    return lambda wave: "".join(recognizer.transcribe([wave])[0].tokens)


def funasr(folder: Path, precision: str) -> Callable[[Any], str]:
    import torch
    from funasr import AutoModel

    auto = AutoModel(model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR")
    if precision == "int8":
        torch.ao.quantization.quantize_dynamic(auto.model, {torch.nn.Linear}, inplace=True)
    return lambda wave: auto.generate(input=wave)[0]["text"].replace(" ", "")


def work_of(side: str, folder: Path, waves_file: Path) -> Callable[[int], str]:
    """``work(row) -> text`` of one side."""
    import numpy as np

    name, precision = side.split(":")
    folder = folder / ("onnx" if name == "onnxruntime" else "torch")
    recognize = (funasr if name == "FunASR" else funrecipe)(folder, precision)
    with np.load(waves_file) as archive:
        waves = [archive[key] for key in archive.files]
    return lambda row: recognize(waves[row])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it FunASR is left out")
    parser.add_argument("--sides", default=DEFAULT_SIDES, help="NAME:PRECISION, ...; the first is compared with all")
    parser.add_argument("--utterances", type=int, default=6)
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

    wanted = [side for side in args.sides.split(",") if args.peer_python or not side.startswith("FunASR")]
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
    answers = in_turns(sides, range(len(waves)), args.rounds)
    for side in sides:
        side.end()
    seconds = sum(map(len, waves)) / SAMPLE_RATE_HZ
    rows = []
    for side in wanted:
        speed, precision = seconds / cpu_s(answers[side]), side.split(":")[1]
        share = speed * GFLOP_PER_S / measured_peaks()[precision]
        rows.append([side, f"{speed:.1f}", f"{share:.0%}", f"{ratio(answers[wanted[0]], answers[side]):.2f}"])
    conditions = f"one thread, {len(waves)} utterances ({seconds:.0f} s), {args.rounds} rounds"
    print_table(conditions, ["times real time", "share of the peak", f"time relative to {wanted[0]}"], rows)
    texts = {side: results(answers[side]) for side in wanted}
    exact = [side for side in wanted if side.endswith(":fp32")]
    differing = [side for side in exact if texts[side] != texts[exact[0]]]
    print(f"texts in fp32 {'differ: ' + ', '.join(differing) if differing else 'agree'}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
