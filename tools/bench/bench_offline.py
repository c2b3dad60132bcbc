"""Speed of a Paraformer-large-sized model on whole utterances with one CPU thread, beside FunASR's in the same run.

    .venv/bin/python -m tools.bench.bench_offline [--peer_python OTHER_VENV/bin/python] [--seconds 2.3,5,11]

Both sides get the same model folder (random weights, FunASR 1.x layout) and the same waveforms, one at a time, in
processes of their own, in turns; the audio is read and the model loaded before the clock starts. The peer's Python
needs ``torch``, ``funasr`` (1.4.16 was used) and ``kaldi-native-fbank``. CPU time is what to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench import bench_streaming

CONFIG = bench_streaming.CONFIG | {
    "model": "Paraformer",
    "encoder": "SANMEncoder",
    "encoder_conf": {
        "output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 50, "input_layer": "pe",
        "kernel_size": 11, "sanm_shfit": 0, "selfattention_layer_type": "sanm",
    },
    "decoder_conf": bench_streaming.CONFIG["decoder_conf"] | {"sanm_shfit": 0},
    "predictor_conf": {"idim": 512, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "frontend": "WavFrontend",
}  # fmt: skip


def make_waves(seconds: list[float]) -> list[Any]:
    audio = bench_streaming.make_audio(int(sum(seconds) * 16000 / bench_streaming.PIECE_SAMPLES) + 2)
    waves = []
    for duration_s in seconds:
        samples = int(16000 * duration_s)
        waves.append(audio[:samples])
        audio = audio[samples:]
    return waves


def ours(folder: Path, precision: str) -> Callable[[Any], list[str]]:
    from funrecipe.decode.options import DecodeOptions
    from funrecipe.decode.recognizer import load_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_recognizer(open_model_folder(folder), options=DecodeOptions(precision=precision))
    return lambda wave: recognizer.transcribe([wave])[0].tokens


def funasr(folder: Path) -> Callable[[Any], list[str]]:
    from funasr import AutoModel

    model = AutoModel(
        model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR"
    )
    return lambda wave: list(model.generate(input=wave)[0]["text"].replace(" ", ""))


def run_side(side: str, folder: Path, seconds: list[float], precision: str) -> None:
    """Recognize every wave once after a warm-up; print CPU and wall seconds and the tokens as one line of JSON."""
    import torch

    torch.set_num_threads(1)
    recognize = ours(folder, precision) if side == "ours" else funasr(folder)
    waves = make_waves(seconds)
    recognize(waves[0])
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = [recognize(wave) for wave in waves]
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print("\n" + json.dumps(spent | {"tokens": tokens}))


def measure(python: str, side: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    command = [python, "-m", "tools.bench.bench_offline", "--side", side, "--folder", str(folder)]
    command += ["--seconds", args.seconds, "--precision", args.precision]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=root)
    if done.returncode != 0:
        sys.exit(f"bench_offline: {side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it only ours is measured")
    parser.add_argument("--seconds", default="2.3,3.1,4,5,6.2,11.2", help="durations of the utterances")
    parser.add_argument("--precision", default="fp32", help="of ours: fp32, bf16, int8 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--side", choices=("ours", "funasr"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    seconds = [float(duration) for duration in args.seconds.split(",")]
    if args.side:
        run_side(args.side, args.folder, seconds, args.precision)
        return 0
    sides = {"ours": sys.executable} | ({"funasr": args.peer_python} if args.peer_python else {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_streaming.make_folder(folder, CONFIG)
        print(f"load average {os.getloadavg()[0]:.1f}; {len(seconds)} utterances, {sum(seconds):.1f} s")
        print(f"ours in {args.precision}")
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, python in sides.items():
                runs[side].append(measure(python, side, folder, args))
    speeds = {}
    for side, done in runs.items():
        cpu = [run["cpu_s"] for run in done]
        speeds[side] = sum(seconds) / statistics.median(cpu)
        best = sum(seconds) / min(cpu)
        print(f"{side:>8}: {speeds[side]:.1f} times real time per CPU second (median), {best:.1f} (best)")
    if "funasr" not in speeds:
        print("  funasr: not measured, because --peer_python names no environment with FunASR")
        return 0
    same = "agree" if runs["ours"][0]["tokens"] == runs["funasr"][0]["tokens"] else "differ"
    print(f"ours is {speeds['ours'] / speeds['funasr']:.2f} times as fast as FunASR; tokens {same}")
    return 0 if speeds["ours"] > speeds["funasr"] else 1


if __name__ == "__main__":
    sys.exit(main())
