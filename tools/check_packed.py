"""Check that FunASR 1.x gives the same texts with a folder that ``funrecipe pack --layout 1.x`` wrote.

    .venv/bin/python -m tools.check_packed --peer_python OTHER_VENV/bin/python PACKED_FOLDER DATA_DIR

The peer's Python needs what ``tools/funasr_1x.py`` names. Both decode every utterance of ``wav.scp`` by itself; texts
are compared without their spaces. Exit 1 when one differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from funrecipe.audio.io import read_audio
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.model_folder import open_model_folder

GREEDY = {"beam_size": 1, "ctc_weight": 0.0, "lm_weight": 0.0, "ngram_weight": 0.0, "penalty": 0.0}
# What AutoModel does without being asked, by family.
AS_FUNASR = {"asr": {"beam_size": 10, "ctc_weight": 0.5}, "sense_voice": {"output": "rich"}}


def read_lines(path: Path) -> dict[str, str]:
    """``key value`` lines; the value may be empty."""
    lines = path.read_text("utf-8").splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


def differences(packed: Path, data_dir: Path, peer_python: str) -> dict[str, tuple[str, str]]:
    """Utterances whose texts differ, with both texts: ours, FunASR's."""
    with tempfile.TemporaryDirectory() as folder:
        command = [peer_python, str(Path(__file__).with_name("funasr_1x.py")), str(packed), str(data_dir), folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        theirs = read_lines(Path(folder) / "result")
    opened = open_model_folder(packed)
    recognizer = load_recognizer(opened, options=DecodeOptions(**AS_FUNASR.get(opened.family, GREEDY)))
    found = {}
    for key, path in read_lines(data_dir / "wav.scp").items():
        wave = read_audio(data_dir / path, sample_rate_hz=recognizer.sample_rate_hz)
        texts = (recognizer.transcribe([wave])[0].text, theirs[key])
        if len({text.replace(" ", "") for text in texts}) > 1:
            found[key] = texts
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer_python", required=True)
    parser.add_argument("packed", type=Path)
    parser.add_argument("data_dir", type=Path)
    args = parser.parse_args()
    found = differences(args.packed, args.data_dir, args.peer_python)
    for key, (ours, theirs) in found.items():
        print(f"{key}\n  funrecipe: {ours}\n  FunASR:    {theirs}")
    print(f"{len(found)} of {len(read_lines(args.data_dir / 'wav.scp'))} texts differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
