"""What a worker of a parallel run (``funrecipe decode``) computes with a speaker model: numbers for every utterance.

The line stands where a recognizer's text would; :mod:`funrecipe.speaker.from_results` makes files of the merged lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from funrecipe.decode.hypothesis import Hypothesis
from funrecipe.model_folder import ModelFolder
from funrecipe.speaker.embedding import SpeakerModel, load_speaker_model
from funrecipe.speaker.vectors import line_of
from funrecipe.speaker.windows import cut_windows


class SpeakerWorker:
    """Lines of whole utterances, or of their windows: rows ``start end embedding``, in seconds of the utterance."""

    def __init__(self, model: SpeakerModel, *, in_windows: bool) -> None:
        self._model, self._in_windows = model, in_windows
        self.sample_rate_hz = model.sample_rate_hz

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Hypothesis]:
        """One line per waveform (S,), whose token is the number of its embeddings. Raises DataError for one that is
        too short."""
        return [self._line(waveform) for waveform in waveforms]

    def _line(self, waveform: np.ndarray) -> Hypothesis:
        if not self._in_windows:
            return Hypothesis(["1"], line_of(self._model.embed(waveform)[None]), 0.0)
        windows = cut_windows(waveform, 0.0, self.sample_rate_hz)
        if not windows:
            return Hypothesis(["0"], line_of(np.zeros((0, 2 + self._model.embedding_size))), 0.0)
        vectors = self._model.embed_windows(np.stack([window.samples for window in windows]))
        times = np.array([(window.start_s, window.end_s) for window in windows])
        return Hypothesis([str(len(windows))], line_of(np.hstack([times, vectors])), 0.0)


def load_worker(
    folder: ModelFolder, *, device: torch.device | str, in_windows: bool, weights: Path | None = None
) -> SpeakerWorker:
    """The worker of a speaker model; ``in_windows``: embeddings of windows, which diarization needs.

    Raises:
        UsageError, DataError, UnsafeFileError: as :func:`funrecipe.speaker.embedding.load_speaker_model`.
    """
    return SpeakerWorker(load_speaker_model(folder, device=device, weights=weights), in_windows=in_windows)
