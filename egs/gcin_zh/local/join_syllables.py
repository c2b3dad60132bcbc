"""Recorded syllables -> sentences: a data directory with joined audio.

Run: ``join_syllables.py VOICE_DIR TEXT DATA_DIR``. ``VOICE_DIR`` holds one folder per syllable in zhuyin (a trailing
2, 3, 4 is the tone, 1 the neutral tone) with one Ogg file per speaker, as in Debian's gcin-voice. Each line of ``TEXT``
is ``ID SENTENCE``; sentences with a syllable that nobody recorded are left out and counted.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import soundfile
import soxr
from pypinyin import Style, lazy_pinyin

SAMPLE_RATE_HZ = 16000
TONES = {"ˊ": "2", "ˇ": "3", "ˋ": "4", "˙": "1"}
Recording = tuple[str, str]  # speaker, syllable


def syllables_of(text: str) -> list[str]:
    """Zhuyin with tone digits, as the folders are named."""
    found = []
    for syllable in lazy_pinyin(text, style=Style.BOPOMOFO):
        tone = next((digit for mark, digit in TONES.items() if mark in syllable), "")
        found.append("".join(c for c in syllable if c not in TONES) + tone)
    return found


def find_recordings(voice_dir: Path) -> list[Recording]:
    return sorted((file.stem, file.parent.name) for file in voice_dir.glob("*/*.ogg"))


def split_recordings(
    recordings: list[Recording], held_out_share: float, seed: int
) -> tuple[set[Recording], set[Recording]]:
    """Recordings to train on, and held out; a syllable is held out for one speaker only, so every one is heard."""
    chooser = random.Random(seed)
    shuffled = recordings[:]
    chooser.shuffle(shuffled)
    held_out: set[Recording] = set()
    taken: set[str] = set()
    both = {s for _, s in recordings if sum((speaker, s) in set(recordings) for speaker in ("3", "5")) == 2}
    for speaker, syllable in shuffled:
        if len(held_out) < held_out_share * len(recordings) and syllable in both and syllable not in taken:
            held_out.add((speaker, syllable))
            taken.add(syllable)
    return set(recordings) - held_out, held_out


class Voice:
    """Trimmed, level recordings, read when first needed."""

    def __init__(self, voice_dir: Path) -> None:
        self.voice_dir = voice_dir
        self.waves: dict[Recording, np.ndarray] = {}

    def __call__(self, recording: Recording) -> np.ndarray:
        if recording not in self.waves:
            speaker, syllable = recording
            wave, rate = soundfile.read(self.voice_dir / syllable / f"{speaker}.ogg", dtype="float32", always_2d=True)
            self.waves[recording] = level(trim(soxr.resample(wave[:, 0], rate, SAMPLE_RATE_HZ)))
        return self.waves[recording]


def trim(wave: np.ndarray, floor_db: float = -32.0) -> np.ndarray:
    """The part between the first and the last 10 ms louder than ``floor_db`` below the loudest."""
    step = SAMPLE_RATE_HZ // 100
    frames = wave[: len(wave) // step * step].reshape(-1, step)
    power = np.mean(frames**2, axis=1) + 1e-12
    loud = np.flatnonzero(10 * np.log10(power / power.max()) > floor_db)
    return wave[loud[0] * step : (loud[-1] + 1) * step]


def level(wave: np.ndarray, rms: float = 0.07) -> np.ndarray:
    return (wave * (rms / max(1e-6, float(np.sqrt(np.mean(wave**2)))))).astype(np.float32)


def join(parts: list[np.ndarray], chooser: random.Random) -> np.ndarray:
    """Parts cut to a lively pace, overlapping by 20 to 60 ms; silence around, faint noise, a speed of its own."""
    longest_s = chooser.uniform(0.22, 0.38)
    joined = np.zeros(int(chooser.uniform(0.1, 0.3) * SAMPLE_RATE_HZ), dtype=np.float32)
    for part in parts:
        part = part[: int(longest_s * chooser.uniform(0.85, 1.15) * SAMPLE_RATE_HZ)].copy()
        overlap = min(int(chooser.uniform(0.02, 0.06) * SAMPLE_RATE_HZ), len(part) // 3)
        ramp = np.linspace(0, 1, overlap, dtype=np.float32)
        part[:overlap] *= ramp
        part[-overlap:] *= ramp[::-1]
        joined = np.concatenate([joined, np.zeros(len(part) - overlap, dtype=np.float32)])
        joined[len(joined) - len(part) :] += part * chooser.uniform(0.8, 1.2)
    joined = np.concatenate([joined, np.zeros(int(chooser.uniform(0.1, 0.3) * SAMPLE_RATE_HZ), dtype=np.float32)])
    joined = soxr.resample(joined, int(100 * chooser.uniform(0.9, 1.1)), 100)
    noise = np.random.default_rng(chooser.getrandbits(32)).standard_normal(len(joined)).astype(np.float32)
    return np.clip(joined + noise * chooser.uniform(0.0003, 0.002), -1, 1)


def choose_recordings(
    syllables: list[str], preferred: set[Recording], others: set[Recording], chooser: random.Random
) -> list[Recording] | None:
    """One recording for each syllable: of one speaker where there is one, from ``preferred`` where there is one.

    None when a syllable has no recording at all.
    """
    speakers = sorted({speaker for speaker, _ in preferred | others})
    chooser.shuffle(speakers)
    found = []
    for syllable in syllables:
        candidates = [(speaker, syllable) for speaker in speakers]
        able = [c for c in candidates if c in preferred] or [c for c in candidates if c in others]
        if not able:
            return None
        found.append(able[0])
    return found


def write_sentences(
    lines: list[tuple[str, str]], voice: Voice, preferred: set[Recording], others: set[Recording], data_dir: Path,
    seed: int,
) -> tuple[int, float]:  # fmt: skip
    """One FLAC per sentence, ``wav.scp``, ``text``; sentences left out, and share of syllables from ``preferred``."""
    (data_dir / "wav").mkdir(parents=True, exist_ok=True)
    listed, texts, left_out, used, total = [], [], 0, 0, 0
    for key, text in lines:
        chooser = random.Random(f"{seed}-{key}")
        recordings = choose_recordings(syllables_of(text), preferred, others, chooser)
        if recordings is None:
            left_out += 1
            continue
        wave = join([voice(recording) for recording in recordings], chooser)
        soundfile.write(data_dir / "wav" / f"{key}.flac", wave, SAMPLE_RATE_HZ, subtype="PCM_16")
        listed.append(f"{key} wav/{key}.flac\n")
        texts.append(f"{key} {text}\n")
        used, total = used + sum(r in preferred for r in recordings), total + len(recordings)
    (data_dir / "wav.scp").write_text("".join(listed), "utf-8")
    (data_dir / "text").write_text("".join(texts), "utf-8")
    return left_out, used / max(1, total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voice_dir", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--held_out_share", type=float, default=0.15, help="share of the recordings that training never hears"
    )
    parser.add_argument(
        "--use", choices=("train", "held_out", "all"), default="train",
        help="train: no held-out recording; held_out: those wherever there is one; all: every recording",
    )  # fmt: skip
    args = parser.parse_args()
    training, held_out = split_recordings(find_recordings(args.voice_dir), args.held_out_share, args.seed)
    preferred, others = {
        "train": (training, set()), "held_out": (held_out, training), "all": (training | held_out, set())
    }[args.use]  # fmt: skip
    listed = (line.split(maxsplit=1) for line in args.text.read_text("utf-8").splitlines())
    lines = [(key, text) for key, text in listed]
    left_out, share = write_sentences(lines, Voice(args.voice_dir), preferred, others, args.data_dir, args.seed)
    print(f"{args.data_dir}: {len(lines) - left_out} sentences, {left_out} left out because of a missing syllable; "
          f"{share:.0%} of the syllables are {args.use} recordings")  # fmt: skip


if __name__ == "__main__":
    main()
