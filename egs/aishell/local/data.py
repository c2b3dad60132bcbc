#!/usr/bin/env python3
"""data.py CORPUS DATA_DIR: AISHELL-1 as DATA_DIR/{train,validation,test}/{wav.scp,text,utt2spk}.

CORPUS is ``data_aishell`` as published: ``wav/{train,dev,test}/SPEAKER/ID.wav`` and
``transcript/aishell_transcript_v0.8.txt``. Texts get a space between characters. Recordings without a transcript (the
corpus has some) are left out and counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from funrecipe.data.texts import read_texts  # noqa: E402
from funrecipe.errors import DataError, FunrecipeError, UsageError  # noqa: E402
from funrecipe.files import write_text  # noqa: E402

SETS = {"train": "train", "dev": "validation", "test": "test"}
TRANSCRIPT = Path("transcript") / "aishell_transcript_v0.8.txt"


def read_transcript(path: Path) -> dict[str, str]:
    """Id -> characters with a space between them; the published lines have spaces between words."""
    return {key: " ".join("".join(text.split())) for key, text in read_texts(path).items()}


def write_set(recordings: dict[str, Path], transcript: dict[str, str], folder: Path) -> str:
    """The lists of one set; what was done, in a line."""
    keys = sorted(recordings.keys() & transcript.keys())
    if not keys:
        raise DataError(f"none of {len(recordings)} recordings has a transcript", where=str(folder))
    write_text(folder / "wav.scp", (f"{key} {recordings[key]}\n" for key in keys))
    write_text(folder / "text", (f"{key} {transcript[key]}\n" for key in keys))
    write_text(folder / "utt2spk", (f"{key} {recordings[key].parent.name}\n" for key in keys))
    return f"{folder}: {len(keys)} utterances, {len(recordings) - len(keys)} recordings without a transcript"


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 2:
            raise UsageError("expected CORPUS DATA_DIR")
        corpus, data_dir = Path(arguments[0]).absolute(), Path(arguments[1])
        transcript = read_transcript(corpus / TRANSCRIPT)
        for name, ours in SETS.items():
            recordings = {path.stem: path for path in (corpus / "wav" / name).rglob("*.wav")}
            if not recordings:
                hint = "unpack the archives of the speakers in wav/ (stage -1)"
                raise DataError("no recordings", where=str(corpus / "wav" / name), hint=hint)
            print(write_set(recordings, transcript, data_dir / ours))
    except FunrecipeError as error:
        print(f"data.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
