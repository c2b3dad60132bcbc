"""``funrecipe embed DATA OUT_DIR``: speaker embeddings as Kaldi vectors, of a list or of a parallel run's results."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.audio.settings import add_audio_arguments

    add = parser.add_argument
    add("--model", help="folder of a speaker model, or an id that is on disk; not for the results of a run")
    add("--device", default="cpu", help="auto, cpu (default), cuda, cuda:1 ...")
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
    from funrecipe.audio.settings import settings_given
    from funrecipe.jobs.embed_run import embed_list, embed_results

    if args.model is None:
        print(embed_results(args.data, args.output_dir))
        return
    how = {"device": args.device, "audio": settings_given(args), "max_failed": args.max_failed}
    print(embed_list(args.model, args.data, args.output_dir, **how))
