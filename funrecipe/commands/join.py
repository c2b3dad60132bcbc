"""``funrecipe join``: results of pieces -> 1best_recog of the recordings, and subtitles and other formats of each."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from funrecipe.recordings.formats import FORMATS

    add = parser.add_argument
    add("--piece_dir", type=Path, required=True, help="what 'funrecipe segment' wrote")
    add("--results", type=Path, required=True, help="1best_recog of the run that decoded it")
    add(
        "--speakers",
        type=Path,
        help="1best_recog of a run with a speaker model on the same pieces, with --windows true",
    )
    add(
        "--num_speakers",
        type=int,
        help="number of speakers of each recording (default: --reco2num_spk, else estimated)",
    )
    add("--reco2num_spk", type=Path, help="lines 'recording number'")
    add("--punc_model", help="punctuation: folder or id")
    add("--model", help="recognizer, whose configuration.json names the punctuation model that is 'auto'")
    add("--text_rules", default="1.4", help="how punctuation is written: 0.7, 0.8 or 1.4 (default: %(default)s)")
    add("--formats", default="", help=f"some of {', '.join(FORMATS)}, into OUT_DIR/transcripts")
    add("--max_failed", type=int, default=0, help="publish if at most N recordings failed (default: %(default)s)")
    add("output_dir", metavar="OUT_DIR", type=Path, help="gets 1best_recog")


def run(args: argparse.Namespace) -> None:
    from funrecipe.errors import IncompleteRunError, list_problems
    from funrecipe.files import atomic_folder, write_text
    from funrecipe.jobs.earlier_plans import switch_plans
    from funrecipe.jobs.results import DIGEST_NAME, RESULTS, unpublish
    from funrecipe.jobs.run_record import digest_of_results
    from funrecipe.recordings.formats import parse_formats, write_formats
    from funrecipe.recordings.join_list import RESULT_FILES, WITH_PUNCTUATION, join_results
    from funrecipe.recordings.piece_list import digest_without_pieces
    from funrecipe.recordings.transcript import RecordingTranscript

    formats = parse_formats(args.formats)
    punctuator = None
    if args.punc_model:
        from funrecipe.hub import open_companion
        from funrecipe.punctuation.punctuator import load_punctuator

        punctuator = load_punctuator(open_companion(args.punc_model, "punc_model", args.model))
    results = list(
        join_results(
            args.piece_dir,
            args.results,
            punctuator=punctuator,
            text_rules=args.text_rules,
            speakers=args.speakers,
            n_speakers=args.num_speakers or _speaker_counts(args.reco2num_spk),
        )
    )
    good = [result for result in results if isinstance(result, RecordingTranscript)]
    bad = [f"{r.key}: {r.error}" for r in results if not isinstance(r, RecordingTranscript)]
    if len(bad) > args.max_failed:
        raise IncompleteRunError(
            f"{len(bad)} of {len(results)} recordings failed; no results were published\n{list_problems(bad)}",
            where=str(args.piece_dir),
            hint=f"fix the audio and rerun, or pass --max_failed {len(bad)} to accept the failures",
        )
    with atomic_folder(args.output_dir / RESULTS) as new:
        for name, value in {**RESULT_FILES, **(WITH_PUNCTUATION if punctuator else {})}.items():
            write_text(new / name, (f"{result.key} {value(result)}\n" for result in good))
        if digest := digest_without_pieces(args.piece_dir) or digest_of_results(args.results):
            write_text(new / DIGEST_NAME, f"{digest}\n")
        write_text(args.output_dir / "failed_recordings", (f"{line}\n" for line in bad))
        if formats:
            (args.output_dir / "transcripts").mkdir(exist_ok=True)
        for result in good:
            write_formats(result, args.output_dir / "transcripts", formats)
        # A run without pieces in the same folder: these are not its results.
        switch_plans(args.output_dir, work_digest="")
        unpublish(args.output_dir)
    print(f"{len(good)} recordings in {args.output_dir / RESULTS}" + (f", {len(bad)} failed" if bad else ""))


def _speaker_counts(path: Path | None) -> dict[str, int]:
    if path is None:
        return {}
    from funrecipe.speaker.from_results import read_speaker_counts

    return read_speaker_counts(path)
