"""Real-time factor of a Paraformer-large-sized online model on one CPU thread, beside FunASR's in the same run.

    .venv/bin/python -m tools.bench.bench_streaming [--peer_python OTHER_VENV/bin/python]

Both sides get the same model folder (random weights, FunASR 1.x layout), the same audio and the same 600 ms pieces, in
processes of their own, in turns. The peer's Python needs ``torch``, ``funasr`` (1.4.16 was used) and
``kaldi-native-fbank``. CPU time is what
to compare: wall time on a shared machine says more about its neighbors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VOCAB_SIZE = 8404
PIECE_SAMPLES = 9600
PIECE_S = PIECE_SAMPLES / 16000
WARM_UP_PIECES = 3
ALPHA = 0.27  # mean weight of a 60 ms frame: about 4.5 tokens a second
FRONTEND = {"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "lfr_m": 7,
            "lfr_n": 6, "dither": 0.0}  # fmt: skip
CONFIG = {
    "model": "ParaformerStreaming",
    "model_conf": {"ctc_weight": 0.0, "lsm_weight": 0.1, "length_normalized_loss": True, "predictor_bias": 1},
    "encoder": "SANMEncoderChunkOpt",
    "encoder_conf": {"output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 50,
                     "input_layer": "pe_online", "kernel_size": 11, "sanm_shfit": 0, "selfattention_layer_type": "sanm",
                     "chunk_size": [12, 15], "stride": [8, 10], "pad_left": [0, 0],
                     "encoder_att_look_back_factor": [4, 4], "decoder_att_look_back_factor": [1, 1]},
    "decoder": "ParaformerSANMDecoder",
    "decoder_conf": {"attention_heads": 4, "linear_units": 2048, "num_blocks": 16, "att_layer_num": 16,
                     "kernel_size": 11, "sanm_shfit": 5},
    "predictor": "CifPredictorV2",
    "predictor_conf": {"idim": 512, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45,
                       "tail_mask": False},
    "frontend": "WavFrontendOnline",
    "frontend_conf": FRONTEND,
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
}  # fmt: skip


def make_folder(folder: Path, config: dict = CONFIG) -> None:
    """A model folder with random weights that both sides read."""
    import torch
    import yaml

    from funrecipe.model_folder.funasr_1x import to_0x
    from funrecipe.models.registry import build_model

    tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + i) for i in range(VOCAB_SIZE - 4)), "<unk>"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    size = FRONTEND["n_mels"] * FRONTEND["lfr_m"]
    shift, scale = " ".join(["-8.0"] * size), " ".join(["0.25"] * size)
    (folder / "am.mvn").write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
    )
    torch.manual_seed(1234)
    model = build_model(to_0x(config), VOCAB_SIZE)
    with torch.no_grad():
        model.predictor.cif_output.weight.mul_(0.3)
        model.predictor.cif_output.bias.fill_(math.log(ALPHA / (1 - ALPHA)))
    torch.save(model.state_dict(), folder / "model.pt")
    print(f"model: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, random")


def make_audio(pieces: int):
    """Noise whose loudness goes up and down four times a second, roughly as speech does; half of the last piece."""
    import numpy as np

    time_s = np.arange(int((pieces - 0.5) * PIECE_SAMPLES)) / 16000
    noise = np.random.default_rng(0).normal(0.0, 0.1, len(time_s))
    return (noise * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def recognize_ours(folder: Path, chunk_size: list[int], look_backs: list[int]):
    """``call(samples, is_final) -> text`` of one stream."""
    from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer
    from funrecipe.model_folder import open_model_folder

    recognizer = load_streaming_recognizer(open_model_folder(folder))
    options = StreamOptions(tuple(chunk_size), *look_backs)
    cache: dict = {}
    return lambda samples, is_final: recognizer.feed(samples, cache, is_final, options).text


def recognize_funasr(folder: Path, chunk_size: list[int], look_backs: list[int]):
    """The same with FunASR 1.x."""
    from funasr import AutoModel

    model = AutoModel(
        model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True, log_level="ERROR"
    )
    cache: dict = {}

    def call(samples, is_final: bool) -> str:
        result = model.generate(
            input=samples, cache=cache, is_final=is_final, chunk_size=chunk_size,
            encoder_chunk_look_back=look_backs[0], decoder_chunk_look_back=look_backs[1],
        )  # fmt: skip
        return result[0]["text"] if result else ""

    return call


def run_side(side: str, folder: Path, pieces: int, chunk_size: list[int], look_backs: list[int]) -> None:
    """Recognize one stream and print the seconds of every piece as one line of JSON."""
    import torch

    torch.set_num_threads(1)
    recognize = {"ours": recognize_ours, "funasr": recognize_funasr}[side](folder, chunk_size, look_backs)
    audio = make_audio(pieces)
    cpu_s, wall_s, texts = [], [], []
    for i in range(pieces):
        samples = audio[i * PIECE_SAMPLES : (i + 1) * PIECE_SAMPLES]
        cpu, wall = time.process_time(), time.perf_counter()
        texts.append(recognize(samples, i == pieces - 1))
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
    print(
        "\n" + json.dumps({"cpu_s": cpu_s[WARM_UP_PIECES:], "wall_s": wall_s[WARM_UP_PIECES:], "text": "".join(texts)})
    )


def measure(python: str, side: str, folder: Path, args: argparse.Namespace) -> dict:
    command = [python, __file__, "--side", side, "--folder", str(folder), "--pieces", str(args.pieces)]
    command += ["--chunk_size", args.chunk_size, "--look_backs", args.look_backs]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"bench_streaming: {side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(name: str, runs: list[dict]) -> float:
    cpu = [s for run in runs for s in run["cpu_s"]]
    wall = [s for run in runs for s in run["wall_s"]]
    rtf = statistics.median(cpu) / PIECE_S
    cpu_ms, best_ms, wall_ms = (
        1e3 * seconds for seconds in (statistics.median(cpu), min(cpu), statistics.median(wall))
    )
    print(
        f"{name:>8}: RTF {rtf:.3f}; CPU per piece median {cpu_ms:.0f} ms, best {best_ms:.0f} ms; wall {wall_ms:.0f} ms"
    )
    return rtf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it only ours is measured")
    parser.add_argument("--pieces", type=int, default=25, help="600 ms pieces per run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side, in turns")
    parser.add_argument("--chunk_size", default="0,10,5")
    parser.add_argument("--look_backs", default="4,1", help="chunks that encoder and decoder look back")
    parser.add_argument("--side", choices=("ours", "funasr"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        chunk_size, look_backs = ([int(n) for n in text.split(",")] for text in (args.chunk_size, args.look_backs))
        run_side(args.side, args.folder, args.pieces, chunk_size, look_backs)
        return 0
    sides = {"ours": sys.executable} | ({"funasr": args.peer_python} if args.peer_python else {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder)
        print(f"load average {os.getloadavg()[0]:.1f}, chunk size {args.chunk_size}, look-back {args.look_backs}")
        runs: dict[str, list[dict]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, python in sides.items():
                runs[side].append(measure(python, side, folder, args))
    factors = {side: report(side, done) for side, done in runs.items()}
    if "funasr" not in factors:
        print("  funasr: not measured, because --peer_python names no environment with FunASR")
        return 0
    same = "agree" if runs["ours"][0]["text"] == runs["funasr"][0]["text"] else "DIFFER"
    print(f"ours takes {factors['ours'] / factors['funasr']:.2f} of FunASR's CPU time; texts {same}")
    return 0 if factors["ours"] < factors["funasr"] else 1


if __name__ == "__main__":
    sys.exit(main())
