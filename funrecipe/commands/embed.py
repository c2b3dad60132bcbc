"""``funrecipe embed --model M DATA OUT_DIR``: speaker embeddings of a list, as Kaldi vectors."""

from __future__ import annotations

import argparse
from pathlib import Path

BOOLEAN = ("true", "false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="folder of a speaker model, or an id that is on disk")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--audio_fs", type=int, help="sampling rate of raw .pcm files, in Hz")
    parser.add_argument("--allow_pipes", choices=BOOLEAN, default="false", help="run commands that wav.scp names")
    parser.add_argument(
        "--max_failed", type=int, default=0, metavar="N", help="publish although up to N recordings failed (default: 0)"
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="a wav.scp, or a Kaldi data directory")
    parser.add_argument("output_dir", metavar="OUT_DIR", type=Path, help="for xvector.ark, xvector.scp, failed.scp")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_data_dir, read_scp
    from funrecipe.hub import open_model
    from funrecipe.speaker.embed_list import embed_list, publish
    from funrecipe.speaker.embedding import load_speaker_model

    pipes = args.allow_pipes == "true"
    if args.data.is_dir():
        utterances = tuple(read_data_dir(args.data, allow_pipes=pipes).utterances)
    else:
        utterances = tuple(read_scp(args.data, allow_pipes=pipes))
    model = load_speaker_model(open_model(args.model), device=args.device)
    found = embed_list(model, utterances, audio_fs=args.audio_fs, allow_pipes=pipes)
    publish(found, args.output_dir, max_failed=args.max_failed)
    failed = f", {len(found.failed)} failed (see {args.output_dir / 'failed.scp'})" if found.failed else ""
    print(f"{len(found.vectors)} embeddings of {model.embedding_size} numbers in {args.output_dir}{failed}")
