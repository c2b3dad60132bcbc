"""Real-time factor of a Paraformer-large-sized online model on one CPU thread, beside FunASR's in the same run.

    .venv/bin/python -m tools.bench.bench_streaming [--peer_python OTHER_VENV/bin/python] [--sides funrecipe:fp32,…]

All sides get the same model (random weights), the same real speech and the same 600 ms pieces, one piece at a time and
in turns (``tools/bench/sides.py``). The peer's Python needs ``torch``, ``funasr`` (1.4.16 was used) and
``kaldi-native-fbank``; ``FunASR:int8`` is its model after ``quantize_dynamic``. ``onnxruntime`` is the exported model,
which does not look back (``--look_backs 0,0``), in our recognizer. Exits with 1 where fp32 texts differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.large_model import SAMPLE_RATE_HZ, STREAMING, export, make_folder, speech
from tools.bench.sides import Side, cpu_s, in_turns, print_table, ratio, results, serve, sides_here

PIECE_SAMPLES = 9600
DEFAULT_SIDES = "funrecipe:fp32,FunASR:fp32,funrecipe:fp16,funrecipe:int8,FunASR:int8"
Feed = Callable[[Any, bool], str]


def funrecipe(folder: Path, precision: str, args: argparse.Namespace) -> Callable[[], Feed]:
    """Starts a stream: ``feed(samples, is_final) -> text``."""
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_streaming_recognizer(open_model_folder(folder), options=DecodeOptions(precision=precision))
    options = StreamOptions(tuple(args.chunk_size), *args.look_backs)

    def start() -> Feed:
        cache: dict[str, Any] = {}
        return lambda samples, is_final: recognizer.feed(samples, cache, is_final, options).text

    return start


def funasr(folder: Path, precision: str, args: argparse.Namespace) -> Callable[[], Feed]:
    """The same with FunASR 1.x."""
    import torch
    from funasr import AutoModel

    auto = AutoModel(model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR")
    if precision == "int8":
        torch.ao.quantization.quantize_dynamic(auto.model, {torch.nn.Linear}, inplace=True)
    settings = {"chunk_size": args.chunk_size, "encoder_chunk_look_back": args.look_backs[0],
                "decoder_chunk_look_back": args.look_backs[1]}  # fmt: skip

    def start() -> Feed:
        cache: dict[str, Any] = {}

        def feed(samples: Any, is_final: bool) -> str:
            found = auto.generate(input=samples, cache=cache, is_final=is_final, **settings)
            return found[0]["text"] if found else ""

        return feed

    return start


def work_of(args: argparse.Namespace) -> Callable[[int], str]:
    """``work(number of a piece) -> text`` of one side; piece 0 begins a stream."""
    import numpy as np

    name, precision = args.side.split(":")
    folder = args.folder / ("onnx" if name == "onnxruntime" else "torch")
    start = (funasr if name == "FunASR" else funrecipe)(folder, precision, args)
    audio = np.load(args.folder / "audio.npy")
    feed = start()

    def work(number: int) -> str:
        nonlocal feed
        feed = start() if number == 0 else feed
        return feed(audio[number * PIECE_SAMPLES : (number + 1) * PIECE_SAMPLES], number == args.pieces - 1)

    return work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it FunASR is left out")
    parser.add_argument("--sides", default=DEFAULT_SIDES, help="NAME:PRECISION, ...; the first is compared with all")
    parser.add_argument("--pieces", type=int, default=20, help="pieces of 600 ms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk_size", type=_numbers, default=[0, 10, 5])
    parser.add_argument("--look_backs", type=_numbers, default=[4, 1], help="chunks that encoder, decoder look back")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return serve(lambda: work_of(args))
    with tempfile.TemporaryDirectory() as name:
        return compare(args, Path(name))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def compare(args: argparse.Namespace, folder: Path) -> int:
    """Measure, print a line per side; the exit code."""
    import numpy as np

    wanted = sides_here(args.sides, args.peer_python)
    (folder / "torch").mkdir()
    make_folder(folder / "torch", STREAMING)
    if any(side.startswith("onnxruntime") for side in wanted):
        export(folder / "torch", folder / "onnx")
    audio = np.concatenate(speech(args.pieces // 5 + 1))
    np.save(folder / "audio.npy", audio[: args.pieces * PIECE_SAMPLES - PIECE_SAMPLES // 2])
    sides = []
    for side in wanted:
        python = args.peer_python if side.startswith("FunASR") else sys.executable
        shape = [",".join(map(str, numbers)) for numbers in (args.chunk_size, args.look_backs)]
        arguments = ["--side", side, "--folder", str(folder), "--pieces", str(args.pieces)]
        arguments += ["--chunk_size", shape[0], "--look_backs", shape[1]]
        sides.append(Side(side, python, "tools.bench.bench_streaming", arguments))
    answers = in_turns(sides, range(args.pieces), args.rounds)
    for side in sides:
        side.end()
    texts = {side: "".join(results(answers[side])) for side in wanted}
    rows = []
    for side in wanted:
        factor = cpu_s(answers[side]) / (args.pieces * PIECE_SAMPLES / SAMPLE_RATE_HZ)
        cpu_ms = 1000 * statistics.median(answer["cpu_s"] for rounds in answers[side] for answer in rounds)
        rows.append([side, f"{factor:.3f}", f"{cpu_ms:.0f}", f"{ratio(answers[wanted[0]], answers[side]):.2f}"])
    exact = [side for side in wanted if side.endswith(":fp32")]
    differing = [side for side in exact if texts[side] != texts[exact[0]]]
    conditions = (
        f"one thread, chunk size {args.chunk_size}, look-back {args.look_backs}, {args.pieces} pieces of 600 ms"
    )
    columns = ["real-time factor", "ms a piece (median)", f"time relative to {wanted[0]}"]
    print_table(f"{conditions}, {args.rounds} rounds", columns, rows)
    print(f"texts in fp32 {'differ: ' + ', '.join(differing) if differing else 'agree'}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
