"""Who speaks when: segments of speech -> windows -> embeddings -> clusters -> turns -> speakers of sentences.

model = load_speaker_model(open_model_folder("campplus"))
speech = cut_segments(waveform, segments_ms, model.sample_rate_hz)   # of a VAD
diarization = diarize(model, speech)
diarization.speakers_of(sentences_ms)                                # one number per sentence
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from funrecipe.speaker.clustering import cluster
from funrecipe.speaker.embedding import SpeakerModel

WINDOW_S, HOP_S = 1.5, 0.75
TIMES = 2  # a row of an embedded window begins with its start and end
MIN_TURN_S = 0.7
TOUCHING_S = 1e-4  # turns that overlap by less follow each other


@dataclass(frozen=True)
class Turn:
    """One speaker speaks from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    speaker: int


@dataclass(frozen=True)
class Diarization:
    """The turns of a recording in order of time.

    Attributes:
        turns: they do not overlap; speakers are numbered from 0 as they appear.
        windows_s: start and end of each window that was embedded.
        window_speakers: its speaker, before short turns were given to their neighbors.
        embeddings: (N, E), of the windows.
    """

    turns: tuple[Turn, ...]
    windows_s: tuple[tuple[float, float], ...]
    window_speakers: tuple[int, ...]
    embeddings: np.ndarray

    def speakers_of(self, sentences_ms: Iterable[Sequence[float]], rule: str = "most_time") -> list[int]:
        """The speaker of each (start, end) in ms: who speaks most of the time between; 0 where nobody does.

        Args:
            rule: a key of ``RULES``; ``funasr`` gives what FunASR would say, where it differs too.
        """
        return [RULES[rule](self.turns, start_ms, end_ms) for start_ms, end_ms in sentences_ms]


class SpeechWindows:
    """Embeds the speech of one recording as it comes, in any order, and keeps only the embeddings.

    Memory grows by one embedding per 0.75 s of speech, not with its samples.
    """

    def __init__(self, model: SpeakerModel) -> None:
        self._model = model
        self._rows = [np.zeros((0, TIMES + model.embedding_size))]

    def add(self, start_s: float, samples: np.ndarray) -> None:
        """One segment of speech: its start in the recording, its samples (S,) at the model's rate."""
        self._rows.append(embed_speech(self._model, samples, start_s))

    def find_speakers(self, n_speakers: int | None = None) -> Diarization:
        """The speakers of what was added; ``n_speakers`` as in :func:`diarize`."""
        rows = np.concatenate(self._rows)
        return assign_speakers(rows[np.lexsort((rows[:, 1], rows[:, 0]))], n_speakers)


def diarize(
    model: SpeakerModel, speech: Iterable[tuple[float, np.ndarray]], n_speakers: int | None = None
) -> Diarization:
    """Find the speakers of one recording.

    Args:
        speech: (start in seconds, samples (S,) at the model's rate) of each segment of speech; they may be read while
            they are asked for, since only their embeddings are kept.
        n_speakers: how many speakers there are; None: estimated, at most 15. With fewer than 20 windows of 1.5 s,
            about 15 s of speech, it cannot be estimated, and one is assumed.

    Raises:
        UsageError: a number of speakers below one, or scikit-learn is not installed.
    """
    windows = SpeechWindows(model)
    for start_s, samples in speech:
        windows.add(start_s, samples)
    return windows.find_speakers(n_speakers)


def embed_speech(model: SpeakerModel, segment: np.ndarray, start_s: float) -> np.ndarray:
    """Rows (N, 2 + E) of the windows of a segment (S,): start and end in the recording in seconds, embedding."""
    times_s, windows = cut_windows(segment, start_s, model.sample_rate_hz)
    return np.hstack([times_s, model.embed_windows(windows)])


def cut_windows(segment: np.ndarray, start_s: float, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping windows of one segment of speech: start and end (N, 2) in the recording, samples (N, 1.5 s).

    A window that would pass the end is moved back to end there. A segment shorter than a window gives one that is
    padded with zeros and whose end is the segment's.

    Args:
        segment: samples (S,); start_s: where it begins in the recording.
    """
    length, hop, size = len(segment), round(HOP_S * sample_rate_hz), round(WINDOW_S * sample_rate_hz)
    starts = list(range(0, length - size + 1, hop)) if length >= size else [0] * (length > 0)
    if starts and starts[-1] + size < length:
        starts.append(length - size)
    padded = np.pad(np.asarray(segment, np.float32), (0, max(0, size - length)))
    times_s = [
        (start_s + first / sample_rate_hz, start_s + min(length, first + size) / sample_rate_hz) for first in starts
    ]
    windows = [padded[first : first + size] for first in starts]
    return np.array(times_s).reshape(-1, TIMES), np.array(windows).reshape(-1, size)


def assign_speakers(rows: np.ndarray, n_speakers: int | None = None) -> Diarization:
    """The speakers of windows, ``rows`` (N, 2 + E) of :func:`embed_speech` in order of time; as :func:`diarize`."""
    windows_s = [(start_s, end_s) for start_s, end_s in rows[:, :TIMES].tolist()]
    embeddings = rows[:, TIMES:].astype(np.float32)
    speakers = cluster(embeddings, n_speakers).tolist()
    return Diarization(tuple(turns_of_windows(windows_s, speakers)), tuple(windows_s), tuple(speakers), embeddings)


def cut_segments(
    waveform: np.ndarray, segments_ms: Iterable[Sequence[float]], sample_rate_hz: int
) -> Iterator[tuple[float, np.ndarray]]:
    """The segments of a waveform (S,) as :func:`diarize` takes them: (start in seconds, samples)."""
    for start_ms, end_ms in segments_ms:
        first, last = (round(time_ms * sample_rate_hz / 1000) for time_ms in (start_ms, end_ms))
        yield start_ms / 1000, waveform[first:last]


def turns_of_windows(windows: Sequence[tuple[float, float]], speakers: Sequence[int]) -> list[Turn]:
    """Windows (start, end in seconds) with their speakers -> turns in order of time that do not overlap.

    Overlapping windows of different speakers are cut in the middle of the overlap; a turn shorter than ``MIN_TURN_S``
    gets the speaker of the neighbor nearer in time. Times are rounded to 10 ms.
    """
    pairs = zip(windows, speakers, strict=True)
    turns = join_turns(sorted((Turn(start, end, speaker) for (start, end), speaker in pairs), key=lambda t: t.start_s))
    for i in range(1, len(turns)):
        before, after = turns[i - 1], turns[i]
        if before.end_s > after.start_s + TOUCHING_S:
            middle = (before.end_s + after.start_s) / 2
            turns[i - 1], turns[i] = replace(before, end_s=middle), replace(after, start_s=middle)
    if len(turns) > 1:
        return join_turns(absorb_short_turns(turns))
    return [Turn(round(turn.start_s, 2), round(turn.end_s, 2), turn.speaker) for turn in turns]


def join_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Join a turn with the one before it where the speaker is the same and no time lies between."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start_s <= joined[-1].end_s:
            joined[-1] = replace(joined[-1], end_s=max(joined[-1].end_s, turn.end_s))
        else:
            joined.append(turn)
    return joined


def absorb_short_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Round the times of two or more turns, and give each short one the speaker of the nearer neighbor.

    The earlier neighbor has it where both are equally near. As in FunASR, one turn after the other is rounded and
    absorbed, so the next one's start is not rounded yet when it is compared.
    """
    turns = list(turns)
    for i, turn in enumerate(turns):
        turns[i] = turn = Turn(round(turn.start_s, 2), round(turn.end_s, 2), turn.speaker)
        if turn.end_s - turn.start_s >= MIN_TURN_S:
            continue
        before_s = turn.start_s - turns[i - 1].end_s if i > 0 else float("inf")
        after_s = turns[i + 1].start_s - turn.end_s if i + 1 < len(turns) else float("inf")
        turns[i] = replace(turn, speaker=turns[i - 1 if before_s <= after_s else i + 1].speaker)
    return turns


def most_time(turns: Sequence[Turn], start_ms: float, end_ms: float) -> int:
    """The speaker with the most time between two times, the earlier one of equals; 0 where nobody speaks."""
    time_ms: dict[int, float] = {}
    for turn in turns:
        overlap_ms = overlap(turn, start_ms, end_ms)
        if overlap_ms > 0:
            time_ms[turn.speaker] = time_ms.get(turn.speaker, 0.0) + overlap_ms
    return max(time_ms, key=time_ms.__getitem__) if time_ms else 0


def as_funasr(turns: Sequence[Turn], start_ms: float, end_ms: float) -> int:
    """FunASR's rule: the turn that makes a speaker the best one counts twice, so the first of two is favored."""
    best, best_ms = 0, 0.0
    for turn in turns:
        overlap_ms = overlap(turn, start_ms, end_ms)
        if overlap_ms > best_ms:
            best, best_ms = turn.speaker, overlap_ms
        if overlap_ms > 0 and turn.speaker == best:
            best_ms += overlap_ms
    return best


def overlap(turn: Turn, start_ms: float, end_ms: float) -> float:
    """Milliseconds that a turn has between two times; not positive: none."""
    return min(end_ms, 1000 * turn.end_s) - max(start_ms, 1000 * turn.start_s)


RULES = {"most_time": most_time, "funasr": as_funasr}
