"""A corpus that trains in seconds: every character is a chord of its own; and a Paraformer of 40,000 parameters.

For punctuation and VAD models: texts whose marks follow from their words, recordings in which somebody hums."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SAMPLE_RATE_HZ = 16000
CHARACTERS = "一二三四五六"
PITCH_HZ = {c: 300.0 * 1.5**i for i, c in enumerate(CHARACTERS)}


def speak(text: str, seed: int) -> np.ndarray:
    """180 ms of a chord for each character, 60 ms of near silence between."""
    noise = np.random.default_rng(seed)
    parts = [np.zeros(1600)]
    for character in text:
        t = np.arange(int(0.18 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        pitch = PITCH_HZ[character]
        parts += [0.3 * np.sin(2 * np.pi * pitch * t) + 0.1 * np.sin(4 * np.pi * pitch * t), np.zeros(960)]
    wave = np.concatenate(parts)
    return (wave + 0.003 * noise.standard_normal(len(wave))).astype(np.float32)


def write_set(folder: Path, sentences: list[str], seed: int = 0, prefix: str = "utt") -> None:
    (folder / "wav").mkdir(parents=True)
    lines, texts = [], []
    for i, text in enumerate(sentences):
        key = f"{prefix}{i:03d}"
        soundfile.write(folder / "wav" / f"{key}.wav", speak(text, seed + i), SAMPLE_RATE_HZ, subtype="PCM_16")
        lines.append(f"{key} wav/{key}.wav\n")
        texts.append(f"{key} {text}\n")
    (folder / "wav.scp").write_text("".join(lines), "utf-8")
    (folder / "text").write_text("".join(texts), "utf-8")


def some_sentences(count: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["".join(chooser.choice(CHARACTERS) for _ in range(chooser.randint(2, 5))) for _ in range(count)]


CONFIG: dict[str, Any] = {
    "model": "paraformer",
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.0, "length_normalized_loss": True, "predictor_weight": 1.0,
                   "predictor_bias": 1, "sampling_ratio": 0.3},
    "frontend": "wav_frontend",
    "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 40, "frame_length": 25, "frame_shift": 10,
                      "dither": 0.0, "lfr_m": 4, "lfr_n": 3},
    "encoder": "sanm",
    "encoder_conf": {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 2, "dropout_rate": 0.1,
                     "attention_dropout_rate": 0.1, "input_layer": "pe", "kernel_size": 5, "sanm_shfit": 0,
                     "selfattention_layer_type": "sanm"},
    "decoder": "paraformer_decoder_sanm",
    "decoder_conf": {"attention_heads": 2, "linear_units": 64, "num_blocks": 1, "att_layer_num": 1, "dropout_rate": 0.1,
                     "kernel_size": 5, "sanm_shfit": 0},
    "predictor": "cif_predictor_v2",
    "predictor_conf": {"idim": 32, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "token_list": ["<blank>", "<s>", "</s>", *CHARACTERS, "<unk>"],
}  # fmt: skip


WORDS = ("我", "你", "他", "们", "来", "去", "生", "想", "好", "大", "hello", "model")


def written(chooser: random.Random) -> str:
    """A text whose marks follow from its words: 么？ 了。 的，"""
    endings = [*chooser.choices(("么？", "了。", "的，"), k=chooser.randint(1, 3)), "了。"]
    return "".join(" ".join(chooser.choices(WORDS, k=chooser.randint(2, 5))) + f" {ending}" for ending in endings)


def write_texts(folder: Path, seed: int, count: int) -> Path:
    folder.mkdir(parents=True)
    chooser = random.Random(seed)
    (folder / "text").write_text("".join(f"t{i:03d} {written(chooser)}\n" for i in range(count)), "utf-8")
    return folder


def write_recordings(folder: Path, seed: int, count: int) -> Path:
    """Recordings of faint noise in which somebody hums; ``segments.ref`` says when."""
    folder.mkdir(parents=True)
    noise, scp, ref = np.random.default_rng(seed), "", ""
    for i in range(count):
        wave = 0.003 * noise.standard_normal(4 * SAMPLE_RATE_HZ)
        start, end = int(noise.integers(700, 1200)), int(noise.integers(2400, 3200))
        t = np.arange((end - start) * 16) / SAMPLE_RATE_HZ
        pitch = noise.uniform(150, 400)
        wave[start * 16 : end * 16] += sum(0.1 * np.sin(2 * np.pi * pitch * k * t) for k in range(1, 6))
        soundfile.write(folder / f"r{i}.wav", wave, SAMPLE_RATE_HZ)
        scp, ref = scp + f"r{i} r{i}.wav\n", ref + f"r{i} [[{start}, {end}]]\n"
    (folder / "wav.scp").write_text(scp)
    (folder / "segments.ref").write_text(ref)
    return folder


# Settings of a run of seconds.
SHORT_RUN: dict[str, Any] = {
    "max_epoch": 2,
    "batch_bins": 150,
    "valid_decode": False,
    "lr": 0.01,
    "seed": 3,
    "save_interval": 0,
}


def scratch(corpus: Path, output_dir: Path, **settings: Any) -> dict[str, Any]:
    """Flags of a run from random weights."""
    return {"config": str(corpus / "config.yaml"), "cmvn_file": str(corpus / "am.mvn"), "data_dir": str(corpus),
            "output_dir": str(output_dir), "num_workers": 0, "batch_bins": 200, "optim": "adamw", "lr": 0.003,
            "log_interval": 1, "keep_nbest_models": 2, **settings}  # fmt: skip
