"""The audio of a worker's utterances, read and refused in one way by its threads and by its processes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from funrecipe.audio.settings import AudioSettings
from funrecipe.errors import WorkerError
from funrecipe.identity import file_stamp
from funrecipe.jobs.plan import AGAIN
from funrecipe.jobs.shards import ShardEntry, file_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ReadSettings:
    """How a plan reads its audio, and the sampling rate of its model."""

    sample_rate_hz: int
    audio: AudioSettings = AudioSettings()


def read_entry(entry: ShardEntry, settings: ReadSettings, channels: dict[str, int]) -> np.ndarray:
    """The waveform (S,) of an utterance; of a text without audio an empty one.

    Args:
        channels: gets the number of channels of audio that has several.

    Raises:
        DataError: it cannot be read.
        WorkerError: the audio is not the one that was planned. That ends the job: counted as a failure, the utterance
            could be published as a deletion (``--max_failed``).
    """
    import numpy as np

    from funrecipe.audio.io import read_audio

    if not entry.audio:
        return np.zeros(0, np.float32)
    _check_stamp(entry)
    waveform = read_audio(
        entry.audio,
        sample_rate_hz=settings.sample_rate_hz,
        start_s=entry.start_s,
        end_s=entry.end_s,
        on_channels=partial(channels.__setitem__, entry.id),
        **vars(settings.audio),
    )
    _check_stamp(entry)
    return waveform


def _check_stamp(entry: ShardEntry) -> None:
    if entry.stamp and file_stamp(file_of(entry.audio)) not in (entry.stamp, ""):
        raise WorkerError("the audio has changed since the plan was made", where=entry.audio, hint=AGAIN)
