"""How many streams one CPU thread, or one GPU, keeps up with, and at what latency.

    .venv/bin/python -m tools.bench.bench_streams [--streams 1,2,4,8] [--rounds 10] [--device cpu]

A model of Paraformer-online's size (random weights) is fed N streams by ``StreamingRecognizer.feed_many``, 600 ms of
each per round. N streams are kept up with if a round takes less than 600 ms; a stream then waits for its text as long
as a round takes. On the CPU the time is CPU time of this process, whatever else the machine does. Exits with 1 if N
streams together say anything else than each alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.bench.large_model import STREAMING, make_folder
from tools.bench.sides import print_table

PIECE_S = 0.6


def pieces_of(stream: int, rounds: int) -> list[Any]:
    """The audio of a stream: noise that is as loud and as quiet as speech, four times a second."""
    import numpy as np

    size = int(PIECE_S * 16000)
    time_s = np.arange(rounds * size) / 16000
    noise = np.random.default_rng(stream).normal(0.0, 0.1, len(time_s))
    audio = (noise * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)
    return [audio[number * size : (number + 1) * size] for number in range(rounds)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,2,4,8", help="numbers of streams to try (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="pieces of 600 ms of each (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    import torch

    from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer
    from funrecipe.model_folder import open_model_folder

    if args.device != "cpu" and not torch.cuda.is_available():
        print(f"no CUDA device: torch {torch.__version__} sees none", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), STREAMING)
        recognizer = load_streaming_recognizer(open_model_folder(folder), device=args.device)
    options, numbers = StreamOptions((0, 10, 5), 4, 1), [int(number) for number in args.streams.split(",")]
    audio = [pieces_of(stream, args.rounds) for stream in range(max(numbers))]
    alone: list[list[str]] = []
    for pieces in audio:
        cache: dict[str, Any] = {}
        alone.append([recognizer.feed(piece, cache, False, options).text for piece in pieces])
    is_same, best, rows = True, 0, []
    for number in numbers:
        caches: list[dict[str, Any]] = [{} for _ in range(number)]
        times = []
        for step in range(args.rounds):
            started = clock()
            updates = recognizer.feed_many([(audio[n][step], caches[n], False) for n in range(number)], options)
            times.append(clock() - started)
            is_same &= [update.text for update in updates] == [alone[n][step] for n in range(number)]
        usual, worst = statistics.median(times), max(times)
        best = max(best, number) if worst < PIECE_S else best
        rows.append([f"{number} streams", *(f"{1000 * s:.0f}" for s in (usual, worst, usual / number))])
    where = "one thread" if args.device == "cpu" else torch.cuda.get_device_name()
    columns = ["ms a round (median)", "ms (worst)", "ms a stream (median)"]
    print_table(f"{where}, {args.rounds} rounds of 600 ms", columns, rows)
    print(f"kept up with {best} streams in every round; texts {'are those of each alone' if is_same else 'DIFFER'}")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
