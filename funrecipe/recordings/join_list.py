"""Results of the pieces of a piece directory -> transcripts of the recordings, and the lines of their result files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.errors import DataError
from funrecipe.recordings.assemble import Punctuates, Recognized, SpeakersOf, assemble
from funrecipe.recordings.piece_list import CutRecording, missing_pieces, read_piece_dir
from funrecipe.recordings.transcript import RecordingTranscript

# The last digits of scores depend on what was decoded together, and results do not on the number of jobs or on kills.
# What a recording's transcript is in ``1best_recog``: file -> its value.
RESULT_FILES = {
    "text": lambda t: " ".join(word.text for word in t.words),
    "token": lambda t: " ".join(token for segment in t.segments for token in segment.tokens),
    "score": lambda t: f"{math.fsum(segment.score for segment in t.segments):.1f}",
    "timestamp": lambda t: json.dumps([[word.start_ms, word.end_ms] for word in t.words]),
    "vad": lambda t: json.dumps([[segment.start_ms, segment.end_ms] for segment in t.segments]),
}
WITH_PUNCTUATION = {"text_with_punc": lambda t: t.text}


def join_results(
    piece_dir: Path,
    results: Path,
    *,
    punctuator: Punctuates | None = None,
    text_rules: str = "1.4",
    speakers: Path | None = None,
    n_speakers: Mapping[str, int] | int | None = None,
) -> Iterator[RecordingTranscript | CutRecording]:
    """The transcript of every recording in order of ids, or a :class:`CutRecording` with its ``error``.

    Args:
        piece_dir: what :func:`funrecipe.recordings.piece_list.write_piece_dir` wrote.
        results: ``1best_recog`` of the run that decoded it; it may be missing where there are no pieces.
        speakers: ``1best_recog`` of a run with a speaker model that embedded the windows of the pieces.
        n_speakers: how many speak, in all recordings or by id; where nothing is said it is estimated.

    Raises:
        DataError: files that are missing or damaged.
    """
    recordings, failed = read_piece_dir(piece_dir)
    has_pieces = any(recording.pieces for recording in recordings.values())
    values = {
        name: read_texts(results / name) if has_pieces and (results / name).exists() else {}
        for name in ("text", "token", "score", "timestamp", "estimated")
    }
    if has_pieces and not (results / "text").exists():
        raise DataError("no results of the pieces", where=str(results), hint="decode them first")
    known = {name: found for name, found in values.items() if name != "estimated" and (found or name != "timestamp")}
    speakers_of: dict[str, SpeakersOf] = {}
    if speakers is not None and has_pieces:
        known["speakers"] = read_texts(speakers / "text")
        speakers_of = _find_speakers(speakers / "text", recordings, n_speakers)
    for key in sorted({*recordings, *failed}):
        if key in failed:
            yield CutRecording(key, error=failed[key])
            continue
        recording = recordings[key]
        if missing := missing_pieces(recording, known):
            yield CutRecording(
                key, error=f"{len(missing)} of {len(recording.pieces)} pieces failed, first {missing[0]}"
            )
            continue
        pieces = [Recognized(piece, _heard(piece.id_in(key), values)) for piece in recording.pieces]
        yield assemble(
            key,
            recording.duration_ms,
            pieces,
            punctuator=punctuator,
            text_rules=text_rules,
            speakers_of=speakers_of.get(key),
        )


def _find_speakers(
    path: Path, recordings: Mapping[str, CutRecording], n_speakers: Mapping[str, int] | int | None
) -> dict[str, SpeakersOf]:
    from funrecipe.speaker.from_results import diarize_results

    places = {
        piece.id_in(key): (key, piece.heard_from_ms / 1000)
        for key, recording in recordings.items()
        for piece in recording.pieces
    }
    diarizations, _ = diarize_results(path, places, n_speakers)
    return {key: found.speakers_of for key, found in diarizations.items()}


def _heard(name: str, values: dict[str, dict[str, str]]) -> Hypothesis:
    """What the result files of a run say of one piece."""
    times = values["timestamp"].get(name)
    return Hypothesis(
        values["token"][name].split(),
        values["text"][name],
        float(values["score"][name]),
        None if times is None else json.loads(times),
        is_estimated=name in values["estimated"],
    )
