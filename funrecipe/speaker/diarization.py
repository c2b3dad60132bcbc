"""Who speaks when: segments of speech -> windows -> embeddings -> clusters -> turns -> speakers of sentences.

model = load_speaker_model(open_model_folder("campplus"))
speech = cut_segments(waveform, segments_ms, model.sample_rate_hz)   # of a VAD
diarization = diarize(model, speech)
diarization.speakers_of(sentences_ms)                                # one number per sentence
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from funrecipe.speaker.clustering import cluster, speaker_means
from funrecipe.speaker.embedding import SpeakerModel
from funrecipe.speaker.turns import RULES, Turn, turns_of_windows
from funrecipe.speaker.windows import cut_windows


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
            rule: a key of ``turns.RULES``; ``funasr`` gives what FunASR would say, where it differs too.
        """
        return [RULES[rule](self.turns, start_ms, end_ms) for start_ms, end_ms in sentences_ms]

    @property
    def centers(self) -> np.ndarray:
        """The mean embedding (K, E) of each speaker; (0, E) without speech."""
        if not self.windows_s:
            return self.embeddings
        return speaker_means(self.embeddings, np.array(self.window_speakers))


class SpeechWindows:
    """Embeds the speech of one recording as it comes, in any order, and keeps only the embeddings.

    Memory grows by one embedding per 0.75 s of speech, not with its samples.
    """

    def __init__(self, model: SpeakerModel) -> None:
        self._model = model
        self._found: list[tuple[float, float, np.ndarray]] = []

    def add(self, start_s: float, samples: np.ndarray) -> None:
        """One segment of speech: its start in the recording, its samples (S,) at the model's rate."""
        windows = cut_windows(samples, start_s, self._model.sample_rate_hz)
        if windows:
            vectors = self._model.embed_windows(np.stack([window.samples for window in windows]))
            self._found += [(w.start_s, w.end_s, vector) for w, vector in zip(windows, vectors, strict=True)]

    def find_speakers(self, n_speakers: int | None = None) -> Diarization:
        """The speakers of what was added; ``n_speakers`` as in :func:`diarize`."""
        found = sorted(self._found, key=lambda window: window[:2])
        vectors = [vector for _, _, vector in found]
        embeddings = np.stack(vectors) if vectors else np.zeros((0, self._model.embedding_size), np.float32)
        return assign_speakers([(start_s, end_s) for start_s, end_s, _ in found], embeddings, n_speakers)


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


def assign_speakers(
    windows_s: Sequence[tuple[float, float]], embeddings: np.ndarray, n_speakers: int | None = None
) -> Diarization:
    """The speakers of windows (start, end in seconds, in order of time) by their embeddings (N, E); as `diarize`."""
    speakers = cluster(embeddings, n_speakers).tolist()
    return Diarization(tuple(turns_of_windows(windows_s, speakers)), tuple(windows_s), tuple(speakers), embeddings)


def cut_segments(
    waveform: np.ndarray, segments_ms: Iterable[Sequence[float]], sample_rate_hz: int
) -> Iterator[tuple[float, np.ndarray]]:
    """The segments of a waveform (S,) as :func:`diarize` takes them: (start in seconds, samples)."""
    for start_ms, end_ms in segments_ms:
        first, last = (round(time_ms * sample_rate_hz / 1000) for time_ms in (start_ms, end_ms))
        yield start_ms / 1000, waveform[first:last]
