"""Results of recordings that were joined from pieces -> ``1best_recog``, and subtitles and other formats of each."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from funrecipe.files import atomic_folder, write_text, writing
from funrecipe.jobs.earlier_plans import switch_plans
from funrecipe.jobs.results import DIGEST_NAME, RESULTS, too_many_failed, unpublish
from funrecipe.jobs.run_record import digest_of_results
from funrecipe.recordings.formats import write_formats
from funrecipe.recordings.join_list import RESULT_FILES, WITH_PUNCTUATION
from funrecipe.recordings.piece_list import CutRecording, digest_without_pieces
from funrecipe.recordings.transcript import RecordingTranscript

TRANSCRIPTS = "transcripts"
EARLIER_TRANSCRIPTS = "transcripts.earlier"


def publish_recordings(
    results: Iterable[RecordingTranscript | CutRecording],
    *,
    piece_dir: Path,
    piece_results: Path,
    output_dir: Path,
    formats: Sequence[str] = (),
    is_punctuated: bool = False,
    max_failed: int = 0,
) -> tuple[int, int, int]:
    """Publish all recordings or none; returns how many there are, how many failed, how many transcripts are set aside.

    Args:
        piece_dir, piece_results: the pieces and their ``1best_recog``, whose digest the results get.
        formats: names of ``FORMATS``, written to ``transcripts``; other files there go to ``transcripts.earlier``.

    Raises:
        IncompleteRunError: more than ``max_failed`` recordings failed; what was published earlier is taken away.
    """
    good, bad = [], []
    for result in results:
        if isinstance(result, RecordingTranscript):
            good.append(result)
        else:
            bad.append(f"{result.key}: {result.error}")
    if len(bad) > max_failed:
        unpublish(output_dir)
        _set_aside_transcripts(output_dir, ())
        raise too_many_failed(len(bad), f"{len(good) + len(bad)} recordings", bad, where=piece_dir)
    with atomic_folder(output_dir / RESULTS) as new:
        for name, value in {**RESULT_FILES, **(WITH_PUNCTUATION if is_punctuated else {})}.items():
            write_text(new / name, (f"{result.key} {value(result)}\n" for result in good))
        if digest := digest_without_pieces(piece_dir) or digest_of_results(piece_results):
            write_text(new / DIGEST_NAME, f"{digest}\n")
        # A run without pieces in the same folder: these are not its results.
        switch_plans(output_dir, work_digest="")
        write_text(output_dir / "failed_recordings", (f"{line}\n" for line in bad))
        paths = {path for result in good for path in write_formats(result, output_dir / TRANSCRIPTS, formats)}
        num_aside = _set_aside_transcripts(output_dir, paths)
        unpublish(output_dir)
    return len(good) + len(bad), len(bad), num_aside


def _set_aside_transcripts(output_dir: Path, written: Collection[Path]) -> int:
    """Move the transcripts that this run did not write, so that they are not taken for its results; how many."""
    earlier = [path for path in (output_dir / TRANSCRIPTS).rglob("*") if path.is_file() and path not in written]
    for path in earlier:
        aside = output_dir / EARLIER_TRANSCRIPTS / path.relative_to(output_dir / TRANSCRIPTS)
        with writing(aside):
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, aside)
    return len(earlier)
