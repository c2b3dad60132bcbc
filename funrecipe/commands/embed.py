"""``funrecipe embed DATA OUT_DIR``: speaker embeddings as Kaldi vectors, of a list or of a parallel run's results."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.audio.settings import add_audio_arguments

    add = parser.add_argument
    add("--model", help="folder of a speaker model, or an id that is on disk; not for the results of a run")
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    add_audio_arguments(parser)
    add("--max_failed", type=int, default=0, metavar="N", help="publish if at most N recordings failed (default: 0)")
    add(
        "data",
        metavar="DATA",
        type=Path,
        help="wav.scp or a data directory; without --model, the 1best_recog/text of a run",
    )
    add("output_dir", metavar="OUT_DIR", type=Path, help="folder to write xvector.ark, xvector.scp and failed.scp into")


def run(args: argparse.Namespace) -> None:
    if args.model is None:
        from funrecipe.speaker.from_results import utterance_vectors
        from funrecipe.speaker.vectors import VECTORS, write_vectors

        vectors = utterance_vectors(args.data)
        write_vectors(args.output_dir, VECTORS, vectors)
        print(f"{count(len(vectors), 'embedding')} in {args.output_dir}")
    else:
        _embed(args)


def _embed(args: argparse.Namespace) -> None:
    from funrecipe.audio.settings import settings_given
    from funrecipe.data.kaldi_dir import read_data_dir, read_scp
    from funrecipe.hub import open_model
    from funrecipe.speaker.embed_list import embed_list, publish
    from funrecipe.speaker.embedding import load_speaker_model

    audio = settings_given(args)
    if args.data.is_dir():
        utterances = tuple(read_data_dir(args.data, allow_pipes=audio.allow_pipes).utterances)
    else:
        utterances = tuple(read_scp(args.data, allow_pipes=audio.allow_pipes))
    model = load_speaker_model(open_model(args.model), device=args.device)
    found = embed_list(model, utterances, audio)
    publish(found, args.output_dir, max_failed=args.max_failed)
    failed = f", {len(found.failed)} failed (see {args.output_dir / 'failed.scp'})" if found.failed else ""
    print(f"{count(len(found.vectors), 'embedding')} of {model.embedding_size} numbers in {args.output_dir}{failed}")
