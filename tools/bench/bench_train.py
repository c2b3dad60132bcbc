"""CPU time of a training step, beside FunASR's own trainer on the same data in the same run.

    .venv/bin/python -m tools.bench.bench_train [--peer_python OTHER_VENV/bin/python] [--utterances 32] [--batch_size 8]

Both sides train the same Paraformer (12 encoder blocks of 256, 6 decoder blocks, CTC 0.3) from the same weights on the
same wav files and texts: batches of ``batch_size`` utterances of similar length, Adam, WarmupLR, clipping, one thread,
audio and features in the training process. One epoch warms up; then epochs are trained in turns (``sides.py``).
That both do the same work shows in the loss of one utterance at the start (no sampler), which has to agree. Feature
caching, which FunASR does not have, is switched off. The peer's Python needs ``torch`` and ``funasr`` (1.4.16 was
used); ``funasr_trainer`` drives its trainer and data loader.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.funasr_trainer import DATA_CONF, OPTIM_CONF, SCHEDULER_CONF, FunasrTrainer
from tools.bench.sides import Side, cpu_s, print_table, ratio, serve

VOCAB_SIZE = 4233  # AISHELL-1
TOKENS_PER_S = 4.3
FRONTEND_CONF = {"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "dither": 0.0,
                 "lfr_m": 7, "lfr_n": 6}  # fmt: skip
MODEL_CONF = {"ctc_weight": 0.3, "lsm_weight": 0.1, "length_normalized_loss": True, "predictor_weight": 1.0,
              "predictor_bias": 1, "sampling_ratio": 0.75}  # fmt: skip
ENCODER_CONF = {"output_size": 256, "attention_heads": 4, "linear_units": 2048, "num_blocks": 12, "dropout_rate": 0.1,
                "positional_dropout_rate": 0.1, "attention_dropout_rate": 0.1, "input_layer": "pe", "kernel_size": 11,
                "sanm_shfit": 0, "selfattention_layer_type": "sanm"}  # fmt: skip
DECODER_CONF = {"attention_heads": 4, "linear_units": 2048, "num_blocks": 6, "att_layer_num": 6, "kernel_size": 11,
                "sanm_shfit": 0, "dropout_rate": 0.1, "positional_dropout_rate": 0.1,
                "self_attention_dropout_rate": 0.1, "src_attention_dropout_rate": 0.1}  # fmt: skip
PREDICTOR_CONF = {"idim": 256, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45}
CONFIG_OURS = {
    "model": "paraformer", "model_conf": MODEL_CONF, "frontend": "wav_frontend", "frontend_conf": FRONTEND_CONF,
    "encoder": "sanm", "encoder_conf": ENCODER_CONF, "decoder": "paraformer_decoder_sanm", "decoder_conf": DECODER_CONF,
    "predictor": "cif_predictor_v2", "predictor_conf": PREDICTOR_CONF,
}  # fmt: skip
CONFIG_FUNASR = {
    "model": "Paraformer", "model_conf": MODEL_CONF, "frontend": "WavFrontend", "encoder": "SANMEncoder",
    "encoder_conf": ENCODER_CONF, "decoder": "ParaformerSANMDecoder", "decoder_conf": DECODER_CONF,
    "predictor": "CifPredictorV2", "predictor_conf": PREDICTOR_CONF, "tokenizer": "CharTokenizer",
}  # fmt: skip


def write_corpus(folder: Path, utterances: int) -> None:
    """Noise of 2 to 8 s with random texts, as a Kaldi data directory and as FunASR's jsonl; weights for both sides."""
    import numpy as np
    import soundfile
    import torch
    import yaml

    from funrecipe.models.registry import build_model

    chooser = np.random.default_rng(1)
    tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + i) for i in range(VOCAB_SIZE - 4)), "<unk>"]
    for part, durations_s in (("train", np.linspace(2, 8, utterances)), ("validation", [4.0])):
        (folder / part).mkdir()
        scp, texts, records = [], [], []
        for i, duration_s in enumerate(durations_s):
            key, path = f"{part}{i:03d}", folder / part / f"{i:03d}.wav"
            samples = int(16000 * duration_s)
            soundfile.write(path, chooser.normal(0, 0.05, samples), 16000, subtype="PCM_16")
            text = "".join(chooser.choice(tokens[3:-1], int(duration_s * TOKENS_PER_S)))
            scp.append(f"{key} {path}\n")
            texts.append(f"{key} {text}\n")
            frames = samples // 160
            records.append({"key": key, "source": str(path), "source_len": frames, "target": text,
                            "target_len": len(text)})  # fmt: skip
        (folder / part / "wav.scp").write_text("".join(scp), "utf-8")
        (folder / part / "text").write_text("".join(texts), "utf-8")
        (folder / f"{part}.jsonl").write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8"
        )
    (folder / "tokens.txt").write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), "utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG_OURS), "utf-8")
    size = 560
    (folder / "am.mvn").write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {'-8.0 ' * size}]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {'0.25 ' * size}]\n</Nnet>\n"
    )
    torch.manual_seed(0)
    model = build_model(CONFIG_OURS, VOCAB_SIZE)
    torch.save(model.state_dict(), folder / "model.pt")
    print(f"model: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, random", file=sys.stderr)


def ours(folder: Path, batch_size: int) -> tuple[Callable[[], float], Callable[[int], int]]:
    """``loss()`` of the validation utterance and ``train(epoch) -> steps``."""
    import torch

    from funrecipe.train.distributed import Ranks
    from funrecipe.train.options import build_options
    from funrecipe.train.session import build_session

    flags = {"config": str(folder / "config.yaml"), "token_list": str(folder / "tokens.txt"),
             "cmvn_file": str(folder / "am.mvn"), "data_dir": str(folder), "output_dir": str(folder / "ours"),
             "init_param": [str(folder / "model.pt")], "batch_bins": batch_size, "batch_unit": "utterances",
             "num_workers": 0, "cache_mb": 0, "valid_decode": False, "save_interval": 0, "optim": "adam",
             "optim_conf": OPTIM_CONF, "scheduler": "warmuplr", "scheduler_conf": SCHEDULER_CONF,
             "grad_clip": 5.0}  # fmt: skip
    trainer = build_session(build_options({}, {}, flags), Ranks(), torch.device("cpu")).trainer

    def train(epoch: int) -> int:
        before = trainer.position.update
        trainer.position.epoch, trainer.position.next_batch = epoch, 0
        trainer.train_epoch()
        return trainer.position.update - before

    def loss() -> float:
        conf = trainer.model.model_conf
        trainer.model.model_conf = {**conf, "sampling_ratio": 0.0}
        value = trainer.evaluate(trainer.model)["loss"]
        trainer.model.model_conf = conf
        return value

    return loss, train


def funasr(folder: Path, batch_size: int) -> tuple[Callable[[], float], Callable[[int], int]]:
    """The same with FunASR 1.x."""
    import torch

    data_conf = DATA_CONF | {"batch_type": "example", "batch_size": batch_size, "num_workers": 0, "pin_memory": False}
    settings = {**CONFIG_FUNASR, "ncpu": 1, "init_param": str(folder / "model.pt"), "dataset_conf": data_conf,
                "frontend_conf": {**FRONTEND_CONF, "cmvn_file": str(folder / "am.mvn")},
                "tokenizer_conf": {"token_list": str(folder / "tokens.json"), "unk_symbol": "<unk>",
                                   "split_with_space": False},
                "train_data_set_list": str(folder / "train.jsonl"),
                "valid_data_set_list": str(folder / "validation.jsonl")}  # fmt: skip
    trainer = FunasrTrainer(settings, folder / "funasr", device="cpu")

    def loss() -> float:
        _, valid = trainer.loader.build_iter(0)
        trainer.model.eval()
        trainer.model.sampling_ratio = 0.0
        with torch.no_grad():
            value = float(trainer.model(**next(iter(valid)))[0])
        trainer.model.sampling_ratio = MODEL_CONF["sampling_ratio"]
        return value

    return loss, trainer.train


def work_of(side: str, folder: Path, batch_size: int) -> Callable[[int], float]:
    """``work(epoch) -> loss``: epoch 0 computes the loss of the validation utterance, others train."""
    loss, train = {"funrecipe": ours, "FunASR": funasr}[side](folder, batch_size)
    return lambda epoch: train(epoch) if epoch else loss()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", help="Python of an environment with FunASR; without it only ours is measured")
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=8, help="utterances")
    parser.add_argument("--epochs", type=int, default=4, help="measured epochs")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return serve(lambda: work_of(args.side, args.folder, args.batch_size))
    with tempfile.TemporaryDirectory() as name:
        return compare(args, Path(name))


def compare(args: argparse.Namespace, folder: Path) -> int:
    """Measure, print a line per side; the exit code."""
    write_corpus(folder, args.utterances)
    pythons = {"funrecipe": sys.executable} | ({"FunASR": args.peer_python} if args.peer_python else {})
    sides = []
    for name, python in pythons.items():
        arguments = ["--side", name, "--folder", str(folder), "--batch_size", str(args.batch_size)]
        sides.append(Side(name, python, "tools.bench.bench_train", arguments))
    losses = {side.name: side.ask(0)["result"] for side in sides}
    answers: dict[str, list[list[dict[str, Any]]]] = {side.name: [] for side in sides}
    for epoch in range(1, args.epochs + 2):  # the first warms up
        for side in sides:
            answer = side.ask(epoch)
            if epoch > 1:
                answers[side.name].append([answer])
    for side in sides:
        side.end()
    rows = []
    for name, of_side in answers.items():
        step_s = cpu_s(of_side) / args.epochs / of_side[0][0]["result"]
        relative = ratio(answers["funrecipe"], of_side)
        rows.append([name, f"{step_s:.2f}", f"{relative:.2f}", f"{losses[name]:.4f}"])
    conditions = (
        f"one thread, {args.utterances} utterances of 2 to 8 s, batches of {args.batch_size}, {args.epochs} epochs"
    )
    print_table(conditions, ["s of CPU time a step", "relative to funrecipe", "loss at the start"], rows)
    agree = max(losses.values()) - min(losses.values()) < 0.01
    print(f"losses {'agree' if agree else 'differ'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
