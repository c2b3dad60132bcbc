"""Mandarin sentences spoken by Kokoro-82M: a data directory of synthetic speech.

Run with the Python of ``get_kokoro.sh``'s folder: ``synthesize.py KOKORO TRAIN_TEXT DATA_DIR --count N``. The texts are
drawn from our own sentences, the training texts, mixtures of both, random words and digits; the voices are Kokoro's
eight Chinese ones and mixtures of two. About 0.4 s of one core for each second of speech.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import unicodedata
from pathlib import Path

import jieba
import numpy as np
import onnxruntime
import soundfile
import soxr
from misaki.zh import ZHG2P

SAMPLE_RATE_HZ, KOKORO_HZ = 16000, 24000
HAN = re.compile(r"[\u4e00-\u9fff]+")
LONGEST = 26  # characters


class Texts:
    """Draws what is said."""

    def __init__(self, own: list[str], train: list[str]) -> None:
        jieba.initialize()
        self.own, self.train = own, train
        self.train_words = [word for text in train for word in jieba.lcut(text)]
        frequent = {w: f for w, f in jieba.dt.FREQ.items() if f >= 300 and len(w) <= 4 and HAN.fullmatch(w)}
        # Flatter than real frequencies, so that rare syllables are heard too.
        self.words = list(frequent)
        self.weights = [f**0.55 * (0.3 if len(w) == 1 else 1.0) for w, f in frequent.items()]

    def draw(self, chooser: random.Random) -> str:
        kind = chooser.choices(("words", "mixture", "digits", "own", "train words", "train"), (30, 12, 8, 28, 10, 12))[
            0
        ]
        if kind == "words":
            return "".join(chooser.choices(self.words, self.weights, k=chooser.randint(3, 7)))[:LONGEST]
        if kind == "train words":
            return "".join(chooser.choices(self.train_words, k=chooser.randint(3, 7)))[:LONGEST]
        if kind == "digits":
            return "".join(chooser.choice("零一二三四五六七八九幺") for _ in range(chooser.randint(4, 11)))
        if kind == "mixture":
            head, tail = jieba.lcut(chooser.choice(self.own)), jieba.lcut(chooser.choice(self.train))
            return "".join(head[: chooser.randint(1, len(head))] + tail[chooser.randrange(len(tail)) :])[:LONGEST]
        return chooser.choice(self.own if kind == "own" else self.train)


class Kokoro:
    """The synthesizer; ``folder`` is what ``get_kokoro.sh`` makes."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "kokoro.onnx"), options)
        self.symbols = json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
        self.voices = {
            path.stem: np.fromfile(path, np.float32).reshape(-1, 256) for path in sorted((folder / "voices").glob("z*"))
        }
        self.phonemes = ZHG2P()

    def speak(self, text: str, chooser: random.Random) -> np.ndarray:
        """16 kHz, of random voice, speed and level."""
        ids = [self.symbols[c] for c in self.phonemes(text)[0] if c in self.symbols][:500]
        names = sorted(self.voices)
        first, second, share = chooser.choice(names), chooser.choice(names), chooser.uniform(0.3, 1.0)
        style = share * self.voices[first] + (1 - share) * self.voices[second]
        inputs = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style[min(len(ids), len(style) - 1)][None],
            "speed": np.array([chooser.uniform(0.85, 1.3)], np.float32),
        }
        wave = soxr.resample(self.session.run(None, inputs)[0].reshape(-1), KOKORO_HZ, SAMPLE_RATE_HZ)
        return wave / max(1e-3, float(np.abs(wave).max())) * chooser.uniform(0.2, 0.7)


def han_lines(lines: list[str]) -> list[str]:
    return [line for line in (unicodedata.normalize("NFKC", line).strip() for line in lines) if HAN.fullmatch(line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kokoro", type=Path)
    parser.add_argument("train_text", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    own = han_lines((Path(__file__).parent / "sentences.txt").read_text("utf-8").splitlines())
    train = han_lines([line.partition(" ")[2] for line in args.train_text.read_text("utf-8").splitlines()])
    texts, kokoro, chooser = Texts(own, train), Kokoro(args.kokoro), random.Random(args.seed)
    (args.data_dir / "wav").mkdir(parents=True, exist_ok=True)
    listed, said = [], []
    for i in range(args.count):
        text = texts.draw(chooser)
        key = f"synthetic{i:05d}"
        wave = kokoro.speak(text, chooser)
        soundfile.write(args.data_dir / "wav" / f"{key}.flac", wave, SAMPLE_RATE_HZ, subtype="PCM_16")
        listed.append(f"{key} wav/{key}.flac\n")
        said.append(f"{key} {text}\n")
    (args.data_dir / "wav.scp").write_text("".join(listed), "utf-8")
    (args.data_dir / "text").write_text("".join(said), "utf-8")


if __name__ == "__main__":
    main()
