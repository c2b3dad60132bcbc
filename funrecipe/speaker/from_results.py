"""The merged lines of a run with a speaker model -> Kaldi vectors, or the turns of every recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from funrecipe.data.kaldi_dir import Utterance
from funrecipe.data.texts import read_texts
from funrecipe.errors import DataError
from funrecipe.speaker.diarization import TIMES, Diarization, assign_speakers
from funrecipe.speaker.vectors import matrix_of


def read_results(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """``(id, matrix (N, D))`` of every line ``id [ ... ]``.

    Raises:
        DataError: the file cannot be read, or a line is not of numbers; names file and line.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                key, _, value = line.rstrip("\n").partition(" ")
                yield key, matrix_of(value, where=f"{path}:{number}")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=str(path)) from None


def utterance_vectors(path: Path) -> dict[str, np.ndarray]:
    """The embedding (E,) of every utterance. Raises DataError as above, or if a line holds more than one."""
    vectors = {}
    for key, matrix in read_results(path):
        if len(matrix) != 1:
            raise DataError(f"'{key}' has {len(matrix)} embeddings, not 1", where=str(path), hint="run stage 1 again")
        vectors[key] = matrix[0].astype(np.float32)
    return vectors


def places_of(utterances: Iterable[Utterance]) -> dict[str, tuple[str, float]]:
    """The recording of each utterance, a segment of speech or a whole recording, and where it starts there in s."""
    return {u.utt_id: (u.recording_id or u.utt_id, u.start_s or 0.0) for u in utterances}


def diarize_results(
    path: Path, places: Mapping[str, tuple[str, float]], n_speakers: Mapping[str, int] | int | None = None
) -> tuple[dict[str, Diarization], list[str]]:
    """The speakers of every recording, by the windows of its utterances; utterances without a line, taken for silence.

    Args:
        places: utterance -> its recording and where it starts in it, in seconds.
        n_speakers: how many speak, in all recordings or by recording id; where nothing is said it is estimated.

    Raises:
        DataError: as :func:`read_results`, or an utterance that the data directory does not have.
        UsageError: as :func:`funrecipe.speaker.diarization.diarize`.
    """
    rows: dict[str, list[tuple[float, np.ndarray]]] = {recording: [] for recording, _ in places.values()}
    missing = set(places)
    for key, matrix in read_results(path):
        if key not in places:
            raise DataError(f"'{key}' is not in the data directory", where=str(path), hint="run stage 1 again")
        missing.discard(key)
        recording, start_s = places[key]
        matrix[:, :TIMES] += start_s
        rows[recording].append((start_s, matrix))
    found = {}
    for recording, segments in rows.items():
        segments.sort(key=lambda segment: segment[0])
        parts = [matrix for _, matrix in segments if len(matrix)] or [np.zeros((0, TIMES + 1))]
        given = n_speakers.get(recording) if isinstance(n_speakers, Mapping) else n_speakers
        found[recording] = assign_speakers(np.concatenate(parts), given)
    return found, sorted(missing)


def read_speaker_counts(path: Path) -> dict[str, int]:
    """Kaldi's ``reco2num_spk``, lines ``recording number``; empty where there is no such file.

    Raises:
        DataError: the list has errors, or a line is not of this form; names file and recording.
    """
    if not path.exists():
        return {}
    counts = {}
    for key, value in read_texts(path).items():
        if not value.isdecimal() or int(value) < 1:
            hint = "write: recording number"
            raise DataError(f"'{value}' is not a number of speakers", where=f"{path}: {key}", hint=hint)
        counts[key] = int(value)
    return counts
