"""Long recordings made of real utterances with silence and noise between them: what transcribing them costs and loses.

    .venv/bin/python -m tools.bench.bench_recordings [--minutes 10,60] [--data DIR] [--noise FILE ... --noise_db 0]

Every recording is transcribed by ``funrecipe transcribe`` in a process of its own, whose peak memory is measured, and
compared with its utterances recognized one by one: is every utterance found, how many errors are made, how far are
word times from those of the utterances alone. Without ``--noise`` all pauses are faint noise; with it every other pause
holds an excerpt of one of the files, as loud as the utterance before it plus ``--noise_db``. Exits with 1 where an
utterance is lost, or where the error rate is more than ``MOST_LOST`` percent above that of the utterances.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.score.rttm import TimedToken
from funrecipe.score.scoring import score_texts
from funrecipe.score.timestamps import score_timestamps
from tools.bench.sides import ROOT, machine

RATE_HZ = 16000
PAUSES_S = (1.0, 4.0)
FAINT = 1e-4
MOST_LOST = 2.0  # percent
QUIET_S = 0.3  # on both sides of a noise


@dataclass
class Made:
    """A recording: ``placed`` has the key of each utterance and where it starts, in s."""

    path: Path
    placed: list[tuple[str, float]] = field(default_factory=list)
    noises_s: list[tuple[float, float]] = field(default_factory=list)


def make(path: Path, waves: dict[str, np.ndarray], noises: list[np.ndarray], minutes: float, noise_db: float) -> Made:
    """Utterances in random order, again and again, until the recording is long enough."""
    chooser, made, at = np.random.default_rng(0), Made(path), 0
    keys: list[str] = []
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="FLAC") as file:
        level = 0.05
        while at < minutes * 60 * RATE_HZ:
            pause = chooser.normal(0.0, FAINT, round(chooser.uniform(*PAUSES_S) * RATE_HZ))
            if noises and len(made.placed) % 2:
                source = noises[chooser.integers(len(noises))]
                first = chooser.integers(max(1, len(source) - len(pause)))
                noise = source[first : first + len(pause)]
                loudness = level * 10 ** (noise_db / 20) / max(float(np.sqrt(np.mean(noise**2))), 1e-6)
                quiet = np.zeros(round(QUIET_S * RATE_HZ))
                made.noises_s.append(((at + len(quiet)) / RATE_HZ, (at + len(quiet) + len(noise)) / RATE_HZ))
                pause = np.concatenate([quiet, loudness * noise, quiet])
            keys = keys or list(chooser.permutation(sorted(waves)))
            key = keys.pop()
            made.placed.append((key, (at + len(pause)) / RATE_HZ))
            level = float(np.sqrt(np.mean(waves[key] ** 2)))
            for part in (pause, waves[key]):
                file.write(np.clip(part, -1, 1).astype(np.float32))
                at += len(part)
    return made


def transcribe(made: Made, arguments: list[str]) -> tuple[dict[str, Any], float, float]:
    """What ``funrecipe transcribe`` says, its seconds and its peak memory in MB."""
    command = [sys.executable, "-m", "funrecipe", "transcribe", str(made.path), "--formats", "json", "--ncpu", "1"]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([*command, "--device", "cpu", *arguments], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} ended with {status}")
        out.seek(0)
        return json.load(out), time.perf_counter() - started, usage.ru_maxrss / 1024


def one_by_one(waves: dict[str, np.ndarray], model: Path) -> dict[str, list[TimedToken]]:
    """The words of every utterance with their times, each recognized alone."""
    import torch

    from funrecipe.model_folder import open_model_folder
    from funrecipe.recordings.load import load_timed_recognizer
    from funrecipe.recordings.word_times import words_of

    torch.set_num_threads(1)
    recognizer = load_timed_recognizer(open_model_folder(model))
    found = {}
    for key, wave in waves.items():
        (heard,) = recognizer.transcribe([wave])
        words = words_of(heard.text, heard.tokens, heard.timestamp_ms, 0, len(wave) * 1000 // RATE_HZ)
        found[key] = [TimedToken(word.text, word.start_ms, word.end_ms) for word in words]
    return found


def report(made: Made, result: dict[str, Any], alone: dict[str, list[TimedToken]], texts: dict[str, str]) -> bool:
    """Print what was found; True unless an utterance is lost or the error rate is ``MOST_LOST`` higher."""
    segments = [(segment["start"], segment["end"]) for segment in result["segments"]]
    expected = [
        [TimedToken(w.text, w.start_ms + 1000 * at_s, w.end_ms + 1000 * at_s) for w in alone[key]]
        for key, at_s in made.placed
    ]
    lost = 0
    for words in expected:
        span_s = (words[0].start_ms / 1000, words[-1].end_ms / 1000) if words else (0.0, 0.0)
        covered_s = sum(max(0.0, min(span_s[1], end) - max(span_s[0], start)) for start, end in segments)
        lost += covered_s < 0.5 * (span_s[1] - span_s[0])
    in_noise = sum(any(a < (start + end) / 2 < b for a, b in made.noises_s) for start, end in segments)
    words = [word for sentence in result["sentences"] for word in sentence["words"]]
    found = [TimedToken(text, 1000 * start, 1000 * end) for text, start, end in words]
    times = score_timestamps({"r": [w for words in expected for w in words]}, {"r": found})["r"]
    reference = " ".join(texts[key] for key, _ in made.placed)
    hypotheses = {
        "whole recording": "".join(word.text for word in found),
        "one by one": "".join(word.text for words in expected for word in words),
    }
    print(f"{len(made.placed)} utterances, {lost} not found; {len(made.noises_s)} noises, {in_noise} taken for speech")
    rates = []
    for name, text in hypotheses.items():
        edits = score_texts({"r": reference}, {"r": text}).edits
        rates.append(edits.rate)
        counts = f"{edits.insertions} ins, {edits.deletions} del, {edits.substitutions} sub"
        print(f"  {name}: CER {edits.rate:.2f} % ({counts})")
    print(f"  word times against one by one: {times.lines()[0]}")
    return not lost and rates[0] - rates[1] <= MOST_LOST


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="10,60", help="lengths of the recordings (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=ROOT / "egs/quickstart/data", help="utterances with texts")
    parser.add_argument("--model", type=Path, default=ROOT / "egs/quickstart/model")
    parser.add_argument("--noise", type=Path, nargs="+", default=[], help="files of noise")
    parser.add_argument("--noise_db", type=float, default=0.0, help="loudness against the utterance before it")
    args, others = parser.parse_known_args()
    data = read_data_dir(args.data)
    waves = {u.utt_id: read_audio(u.audio, sample_rate_hz=RATE_HZ) for u in data.utterances}
    noises = [read_audio(path, sample_rate_hz=RATE_HZ) for path in args.noise]
    print(machine())
    alone, peaks, is_right = one_by_one(waves, args.model), [], True
    with tempfile.TemporaryDirectory() as folder:
        for minutes in map(float, args.minutes.split(",")):
            made = make(Path(folder) / f"{minutes:g}.flac", waves, noises, minutes, args.noise_db)
            result, seconds, peak_mb = transcribe(made, ["--model", str(args.model), *others])
            peaks.append(peak_mb)
            print(f"{minutes:g} min: {seconds:.0f} s, peak memory {peak_mb:.0f} MB; ", end="")
            is_right &= report(made, result, alone, data.texts or {})
    print(f"peak memory, last : first = {peaks[-1] / peaks[0]:.3f}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
