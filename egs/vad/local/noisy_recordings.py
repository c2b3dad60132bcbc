"""Noisy recordings to fine-tune a VAD model with: utterances joined with pauses, under noise of several kinds.

usage: noisy_recordings.py DATA_DIR OUT_DIR     writes OUT_DIR/{train,validation,test}/{wav.scp,rttm,reco2dur,*.flac}

One half of the utterances is for training and validation, the other, of other speakers, for the test. Where there is
speech is read off the loudness of the utterances before noise is added: they were recorded in quiet rooms.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import Utterance, read_data_dir
from funrecipe.files import write_text
from funrecipe.score.rttm import SpeakerTurn, write_rttm

RATE_HZ = 16000
PAUSES_S = (0.5, 4.0)
UTTERANCES = 4  # in a recording
SNR_DB = (-3.0, 12.0)
BELOW_LOUDEST_DB = 35.0  # quieter frames of an utterance are not speech
SHORTEST_PAUSE_S = 0.4  # shorter ones belong to the speech around them
FRAME_S = 0.01


def main(data_dir: Path, out_dir: Path) -> None:
    utterances = read_data_dir(data_dir).utterances
    half = len(utterances) // 2
    chooser = np.random.default_rng(0)
    heard, unheard = utterances[: half - 4], utterances[half:]
    write_set(out_dir / "train", heard, 16, chooser)
    write_set(out_dir / "validation", utterances[half - 4 : half], 4, chooser)
    write_set(out_dir / "test", unheard, 10, chooser)


def write_set(folder: Path, utterances: tuple[Utterance, ...], count: int, chooser: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    waves = [read_audio(utterance.audio, sample_rate_hz=RATE_HZ) for utterance in utterances]
    paths, lengths, turns = [], [], {}
    for number in range(count):
        key = f"{folder.name}{number:02d}"
        chosen = [waves[i] for i in chooser.permutation(len(waves))[:UTTERANCES]]
        clean, turns[key] = joined(chosen, chooser)
        noise = list(NOISES.values())[number % len(NOISES)](len(clean), chooser)
        snr_db = chooser.uniform(*SNR_DB)
        gain = np.sqrt(np.mean(np.concatenate(chosen) ** 2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
        mixed = clean + gain * noise
        mixed *= min(1.0, 0.95 / np.abs(mixed).max())
        soundfile.write(folder / f"{key}.flac", mixed, RATE_HZ)
        paths.append(f"{key} {(folder / f'{key}.flac').resolve()}\n")
        lengths.append(f"{key} {len(mixed) / RATE_HZ:.3f}\n")
    write_text(folder / "wav.scp", paths)
    write_text(folder / "reco2dur", lengths)
    write_rttm(folder / "rttm", turns)


def joined(waves: list[np.ndarray], chooser: np.random.Generator) -> tuple[np.ndarray, list[SpeakerTurn]]:
    """``waves`` with pauses before, between and after, and the times of their speech."""
    parts, turns, length = [], [], 0
    for wave in [*waves, None]:
        pause = round(chooser.uniform(*PAUSES_S) * RATE_HZ)
        parts.append(np.zeros(pause))
        length += pause
        if wave is not None:
            start_s = length / RATE_HZ
            turns += [SpeakerTurn(start_s + start, start_s + end, "speech") for start, end in loud_parts(wave)]
            parts.append(wave)
            length += len(wave)
    return np.concatenate(parts), turns


def loud_parts(wave: np.ndarray) -> list[tuple[float, float]]:
    """Start and end in seconds of what is loud in ``wave`` (S,)."""
    size = round(FRAME_S * RATE_HZ)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    level_db = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    parts: list[tuple[float, float]] = []
    for frame in np.flatnonzero(level_db > level_db.max() - BELOW_LOUDEST_DB):
        start, end = frame * FRAME_S, (frame + 1) * FRAME_S
        if parts and start - parts[-1][1] < SHORTEST_PAUSE_S:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((start, end))
    return parts


def colored(exponent: float):  # type: ignore[no-untyped-def]
    """Noise whose power falls with frequency to ``exponent``: 0 white, 1 pink, 2 brown."""

    def noise(length: int, chooser: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(chooser.normal(size=length))
        frequency = np.maximum(np.fft.rfftfreq(length, 1 / RATE_HZ), 20.0)
        return np.fft.irfft(spectrum / frequency ** (exponent / 2), length)

    return noise


def hum(length: int, chooser: np.random.Generator) -> np.ndarray:
    """A machine: harmonics of one tone, louder and softer, over pink noise."""
    t = np.arange(length) / RATE_HZ
    base_hz = chooser.uniform(60, 200)
    tones = sum(np.sin(2 * np.pi * base_hz * k * t + chooser.uniform(0, 6)) / k for k in range(1, 12))
    swell = 1 + 0.8 * np.sin(2 * np.pi * chooser.uniform(0.1, 1.0) * t)
    pink = colored(1.0)(length, chooser)
    return tones * swell + pink / pink.std()


def clatter(length: int, chooser: np.random.Generator) -> np.ndarray:
    """Bursts of noise of 50 to 400 ms, up to three a second."""
    wave = 0.05 * chooser.normal(size=length)
    for start in chooser.integers(0, length, 3 * length // RATE_HZ):
        burst = chooser.normal(size=int(chooser.integers(800, 6400)))
        burst *= np.exp(-np.arange(len(burst)) / 1500)
        wave[start : start + len(burst)] += burst[: length - start]
    return wave


NOISES = {"white": colored(0.0), "pink": colored(1.0), "brown": colored(2.0), "hum": hum, "clatter": clatter}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
