"""The training data of a VAD model: recordings, and the times of the speech in them.

``rttm``, else ``segments.ref`` (``ID [[start_ms, end_ms], ...]``), else Kaldi's ``segments`` says when. A recording
without a line in ``rttm`` or ``segments`` has no speech. Recordings are cut into pieces of equal length, shorter than
``max_ms``, which are trained on as utterances are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from funrecipe.data.kaldi_dir import Utterance, read_data_dir, read_scp
from funrecipe.errors import DataError, count, list_problems
from funrecipe.score.segments import Segments, read_segments
from funrecipe.train.data.dataset import ItemLimits, TrainItem
from funrecipe.train.data.folders import list_in
from funrecipe.train.data.identity import set_fingerprint
from funrecipe.train.data.small import Inspection, Measure, measure_all

log = logging.getLogger(__name__)
OPEN_MS = 10**12  # the end of a segment that lasts to the end of its recording
SLACK_MS = 100.0  # how far a segment may reach past the end of its recording


def inspect_speech(
    data_dir: Path, measure: Measure, limits: ItemLimits, *, cache_file: Path | None = None, workers: int = 4
) -> Inspection:
    """Pieces of the recordings of ``data_dir`` with the speech in them, in byte order of recordings.

    Raises:
        DataError: no file says where there is speech, or it names recordings that are not in ``wav.scp``.
    """
    recordings = read_scp(list_in(data_dir, "wav.scp", "one line per recording: ID PATH"))
    spoken, source = read_speech(data_dir)
    if unknown := sorted(set(spoken) - {recording.utt_id for recording in recordings}):
        raise DataError(
            f"{count(len(unknown), 'recording')} not in wav.scp\n{list_problems(unknown)}", where=str(source)
        )
    silent = [recording.utt_id for recording in recordings if recording.utt_id not in spoken]
    found, contents = Inspection([]), []
    measured = measure_all(recordings, measure, cache_file, workers)
    for recording in recordings:
        key, (duration_ms, fault, digest) = recording.utt_id, measured[recording.utt_id]
        speech = spoken.get(key, [])
        contents.append((key, str(speech), digest))
        if key in silent and source.name == "segments.ref":
            fault = fault or f"not in {source.name}"
        if any(duration_ms + SLACK_MS < end < OPEN_MS for _, end in speech):
            fault = fault or "speech past the end of the audio"
        if duration_ms <= limits.min_ms:
            fault = fault or f"audio not longer than {limits.min_ms:g} ms"
        if fault:
            found.drop(fault, key)
        else:
            found.items += pieces_of(recording, duration_ms, speech, limits.max_ms)
    found.total = len(found.items) + sum(map(len, found.dropped.values()))
    found.fingerprint = set_fingerprint(contents)
    if silent and source.name != "segments.ref":
        log.info("%s: %d of %d recordings have no speech", source, len(silent), len(recordings))
    return found


def read_speech(data_dir: Path) -> tuple[Mapping[str, Segments], Path]:
    """``(start, end)`` in ms by recording, and the file that says so. Raises DataError."""
    for name in ("rttm", "segments.ref"):
        if (data_dir / name).exists():
            return read_segments(data_dir / name), data_dir / name
    path = data_dir / "segments"
    if not path.exists():
        hint = "write rttm, segments.ref (ID [[start_ms, end_ms], ...]) or segments (ID RECORDING START_S END_S)"
        raise DataError("no file says where there is speech", where=str(data_dir), hint=hint)
    spoken: dict[str, list[tuple[int, int]]] = {}
    for part in read_data_dir(data_dir).utterances:
        end_ms = OPEN_MS if part.end_s is None else round(1000 * part.end_s)
        spoken.setdefault(part.recording_id, []).append((round(1000 * (part.start_s or 0.0)), end_ms))
    return spoken, path


def pieces_of(recording: Utterance, duration_ms: float, speech: Segments, max_ms: float) -> list[TrainItem]:
    """A recording as one or more items, each with the speech in it in ms from its own start."""
    count = int(duration_ms // max_ms) + 1
    length_ms = duration_ms / count
    whole = TrainItem(recording.utt_id, recording.audio, (), duration_ms, speech_ms=clipped(speech, 0.0, duration_ms))
    if count == 1:
        return [whole]
    starts_ms = [number * length_ms for number in range(count)]
    return [
        replace(
            whole,
            key=f"{recording.utt_id}-{number:04d}",
            duration_ms=length_ms,
            start_s=start_ms / 1000,
            end_s=None if number == count - 1 else (start_ms + length_ms) / 1000,
            speech_ms=clipped(speech, start_ms, start_ms + length_ms),
        )
        for number, start_ms in enumerate(starts_ms)
    ]


def clipped(speech: Segments, start_ms: float, end_ms: float) -> tuple[tuple[float, float], ...]:
    """The part of ``speech`` between two times, from the first of them."""
    inside = ((max(start, start_ms) - start_ms, min(end, end_ms) - start_ms) for start, end in speech)
    return tuple((start, end) for start, end in inside if start < end)
