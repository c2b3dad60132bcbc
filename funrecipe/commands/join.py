"""``funrecipe join``: results of pieces -> 1best_recog of the recordings, and subtitles and other formats of each."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.recordings.formats import FORMATS

    add = parser.add_argument
    add("--piece_dir", type=Path, required=True, help="folder that 'funrecipe segment' wrote")
    add("--results", type=Path, required=True, help="1best_recog of the run that decoded the pieces")
    add(
        "--speakers",
        type=Path,
        help="1best_recog of a run with a speaker model on the same pieces, with --windows true",
    )
    add(
        "--num_speakers",
        type="positive",
        help="number of speakers of each recording (default: --reco2num_spk, else estimated)",
    )
    add("--reco2num_spk", type=Path, help="lines 'recording number': how many speak in it")
    add("--punc_model", help="punctuation: folder or id")
    add("--model", help="recognizer, whose configuration.json names the punctuation model that is 'auto'")
    add("--text_rules", default="1.4", help="how punctuation is written: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--formats", default="", help=f"some of {', '.join(FORMATS)}, into OUT_DIR/transcripts")
    add("--max_failed", type=int, default=0, help="publish if at most N recordings failed (default: %(default)s)")
    add("output_dir", metavar="OUT_DIR", type=Path, help="folder to write 1best_recog into")


def run(args: argparse.Namespace) -> None:
    from funrecipe.jobs.publish_recordings import EARLIER_TRANSCRIPTS, publish_recordings
    from funrecipe.jobs.results import RESULTS
    from funrecipe.recordings.formats import parse_formats
    from funrecipe.recordings.join_list import join_results
    from funrecipe.speaker.from_results import read_speaker_counts

    formats = parse_formats(args.formats)
    punctuator = None
    if args.punc_model:
        from funrecipe.hub import open_companion
        from funrecipe.punctuation.punctuator import load_punctuator

        punctuator = load_punctuator(open_companion(args.punc_model, "punc_model", args.model))
    count, failed, num_aside = publish_recordings(
        join_results(
            args.piece_dir,
            args.results,
            punctuator=punctuator,
            text_rules=args.text_rules,
            speakers=args.speakers,
            n_speakers=args.num_speakers or (read_speaker_counts(args.reco2num_spk) if args.reco2num_spk else {}),
        ),
        piece_dir=args.piece_dir,
        piece_results=args.results,
        output_dir=args.output_dir,
        formats=formats,
        is_punctuated=punctuator is not None,
        max_failed=args.max_failed,
    )
    print(f"{count - failed} recordings in {args.output_dir / RESULTS}" + (f", {failed} failed" if failed else ""))
    if num_aside:
        print(f"{num_aside} transcripts of earlier runs are in {args.output_dir / EARLIER_TRANSCRIPTS}")
