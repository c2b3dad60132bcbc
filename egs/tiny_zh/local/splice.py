"""New utterances from pieces of old ones: a data directory with audio cut between characters and joined.

Run: ``splice.py MODEL TRAIN_DIR DATA_DIR --count N``. A model tells where each character ends (its CIF weights,
scaled to the known text); pieces of two to six characters of one speaker are joined in random order. The text then is
no sentence any more: little speech is heard in many contexts, and the decoder cannot learn the training texts by heart.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.decode.recognizer import load_model
from funrecipe.model_folder import open_model_folder
from funrecipe.train.data_plan import frontend_of
from funrecipe.train.references import ReferenceTokenizer, is_mark, split_characters

SAMPLE_RATE_HZ = 16000
FRAME_S = 0.06
SEARCH_S = 0.07  # a cut is moved to the quietest place within this distance


class Aligned(NamedTuple):
    """An utterance with the sample at which each of its characters begins; the last entry is its end."""

    wave: np.ndarray
    power: np.ndarray
    edges: list[int]
    characters: list[str]


class Aligner:
    """Where characters end, by the CIF weights of a Paraformer."""

    def __init__(self, model_dir: Path) -> None:
        folder = open_model_folder(model_dir)
        self.model, self.frontend = load_model(folder, device="cpu"), frontend_of(folder)
        self.tokenize = ReferenceTokenizer(folder.tokens)

    def __call__(self, wave: np.ndarray, text: str) -> Aligned | None:
        """None where the text does not fit the vocabulary one to one, or a character has no room."""
        characters = [c for c in split_characters(text) if not is_mark(c)]
        if len(self.tokenize(text)) != len(characters) or len(characters) < 4:
            return None
        power = np.convolve(wave**2, np.ones(320) / 320, "same")
        cuts = []
        for end_s in self.ends_s(wave, len(characters))[:-1]:
            low = max(0, int((end_s - SEARCH_S) * SAMPLE_RATE_HZ))
            high = min(len(wave), int((end_s + SEARCH_S) * SAMPLE_RATE_HZ))
            if high <= low:
                return None
            cuts.append(low + int(np.argmin(power[low:high])))
        edges = [0, *cuts, len(wave)]
        return Aligned(wave, power, edges, characters) if all(a < b for a, b in zip(edges, edges[1:])) else None

    @torch.inference_mode()
    def ends_s(self, wave: np.ndarray, count: int) -> list[float]:
        """Where the running sum of the CIF weights passes 1, 2, ..., ``count``; linear within a frame."""
        feats, lens = self.frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        encoder_out, lens = self.model.encode(feats, lens)
        target_lens = torch.tensor([count + 1])  # the models count an end of sentence too
        alphas = self.model.predictor(encoder_out, lens, target_lens=target_lens).alphas[0].double().numpy()
        sums = np.concatenate([[0.0], np.cumsum(alphas)])
        return [FRAME_S * float(np.interp(k, sums, np.arange(len(sums)))) for k in range(1, count + 1)]


def splice(pool: list[Aligned], chooser: random.Random) -> tuple[np.ndarray, str]:
    """Pieces of one speaker until there are 5 to 16 characters."""
    parts = [np.zeros(int(chooser.uniform(0.05, 0.2) * SAMPLE_RATE_HZ), np.float32)]
    text: list[str] = []
    wanted = chooser.randint(5, 16)
    while len(text) < wanted:
        source = chooser.choice(pool)
        size = min(len(source.characters), chooser.randint(2, 6))
        starts = [chooser.randint(0, len(source.characters) - size) for _ in range(4)]
        start = min(starts, key=lambda s: edge_power(source, s) + edge_power(source, s + size))
        piece = source.wave[source.edges[start] : source.edges[start + size]].copy()
        ramp = min(160, len(piece) // 2)
        piece[:ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
        piece[-ramp:] *= np.linspace(1, 0, ramp, dtype=np.float32)
        parts.append(piece)
        text += source.characters[start : start + size]
    return np.concatenate(parts), "".join(text)


def edge_power(source: Aligned, index: int) -> float:
    """How loud it is at a cut; the ends of the utterance are silent."""
    return float(source.power[source.edges[index]]) if 0 < index < len(source.characters) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("train_dir", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--speaker_letters", type=int, nargs=2, default=[6, 11], help="the speaker's part of an id")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    data, align = read_data_dir(args.train_dir), Aligner(args.model)
    pools: dict[str, list[Aligned]] = {}
    for utterance in data.utterances:
        wave = read_audio(utterance.audio, sample_rate_hz=SAMPLE_RATE_HZ)
        aligned = align(wave, (data.texts or {}).get(utterance.utt_id, ""))
        if aligned:
            pools.setdefault(utterance.utt_id[slice(*args.speaker_letters)], []).append(aligned)
    chooser = random.Random(args.seed)
    (args.data_dir / "wav").mkdir(parents=True, exist_ok=True)
    listed, texts = [], []
    for i in range(args.count):
        wave, text = splice(pools[chooser.choice(sorted(pools))], chooser)
        key = f"SPL{i:05d}"
        soundfile.write(args.data_dir / "wav" / f"{key}.flac", wave, SAMPLE_RATE_HZ, subtype="PCM_16")
        listed.append(f"{key} wav/{key}.flac\n")
        texts.append(f"{key} {text}\n")
    (args.data_dir / "wav.scp").write_text("".join(listed), "utf-8")
    (args.data_dir / "text").write_text("".join(texts), "utf-8")
    print(f"{args.data_dir}: {args.count} utterances from {sum(map(len, pools.values()))} of {len(data.utterances)}")


if __name__ == "__main__":
    main()
