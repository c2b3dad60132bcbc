"""Two recordings of a few minutes from a data directory of utterances, with pauses of faint noise between them.

usage: join_utterances.py DATA_DIR OUT_DIR     writes OUT_DIR/{a,b}.flac, wav.scp, text
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.files import write_text

RATE_HZ = 16000
PAUSES_S = (1.0, 4.0)  # more than the 0.8 s of silence that end a segment
NOISE = 1e-4


def main(data_dir: Path, out_dir: Path) -> None:
    data = read_data_dir(data_dir)
    chooser = np.random.default_rng(0)
    out_dir.mkdir(parents=True, exist_ok=True)
    half = len(data.utterances) // 2
    texts, paths = [], []
    for name, utterances in (("a", data.utterances[:half]), ("b", data.utterances[half:])):
        path = out_dir / f"{name}.flac"
        with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="FLAC") as file:
            for utterance in utterances:
                pause = round(chooser.uniform(*PAUSES_S) * RATE_HZ)
                file.write(chooser.normal(0.0, NOISE, pause).astype(np.float32))
                file.write(read_audio(utterance.audio, sample_rate_hz=RATE_HZ))
        texts.append(f"{name} {' '.join(data.texts[utterance.utt_id] for utterance in utterances)}\n")
        paths.append(f"{name} {path.resolve()}\n")
    write_text(out_dir / "wav.scp", paths)
    write_text(out_dir / "text", texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
