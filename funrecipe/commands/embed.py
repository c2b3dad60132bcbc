"""``funrecipe embed DATA OUT_DIR``: speaker embeddings as Kaldi vectors, of a list or of a parallel run's results."""

from __future__ import annotations

import argparse
from pathlib import Path

BOOLEAN = ("true", "false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", help="folder of a speaker model, or an id that is on disk; not for the results of a run")
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    add("--audio_fs", type=int, help="sampling rate of raw .pcm files, in Hz")
    add("--channel", help="channel of the audio to use, counted from 1, or mix: the mean of all (default: 1)")
    add("--allow_ffmpeg", choices=BOOLEAN, default="false", help="let ffmpeg read what libsndfile does not")
    add("--allow_pipes", choices=BOOLEAN, default="false", help="run commands that wav.scp names")
    add("--max_failed", type=int, default=0, metavar="N", help="publish if at most N recordings failed (default: 0)")
    add(
        "data", metavar="DATA", type=Path, help="wav.scp or a data directory; without --model 1best_recog/text of a run"
    )
    add("output_dir", metavar="OUT_DIR", type=Path, help="for xvector.ark, xvector.scp, failed.scp")


def run(args: argparse.Namespace) -> None:
    if args.model is None:
        from funrecipe.speaker.from_results import utterance_vectors
        from funrecipe.speaker.vectors import VECTORS, write_vectors

        vectors = utterance_vectors(args.data)
        write_vectors(args.output_dir, VECTORS, vectors)
        print(f"{len(vectors)} embeddings in {args.output_dir}")
    else:
        _embed(args)


def _embed(args: argparse.Namespace) -> None:
    from funrecipe.audio.channels import check_channel
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
    found = embed_list(
        model,
        utterances,
        audio_fs=args.audio_fs,
        channel=1 if args.channel is None else check_channel(args.channel),
        allow_pipes=pipes,
        allow_ffmpeg=args.allow_ffmpeg == "true",
    )
    publish(found, args.output_dir, max_failed=args.max_failed)
    failed = f", {len(found.failed)} failed (see {args.output_dir / 'failed.scp'})" if found.failed else ""
    print(f"{len(found.vectors)} embeddings of {model.embedding_size} numbers in {args.output_dir}{failed}")
