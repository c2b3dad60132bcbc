"""Which channel of a recording is taken."""

from __future__ import annotations

import threading

import numpy as np

from funrecipe.audio.settings import MIX
from funrecipe.errors import DataError, UsageError


def take_channel(samples: np.ndarray, channel: int | str) -> np.ndarray:
    """(S,) of (S, C): one channel, or the mean of all. Raises DataError if there is no such channel."""
    if channel == MIX:
        with np.errstate(invalid="ignore", over="ignore"):  # the caller refuses samples that are not finite
            return samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if int(channel) > samples.shape[1]:
        raise DataError(f"channel is {channel}, but the audio has {samples.shape[1]}", hint="give 1 or mix")
    return samples[:, int(channel) - 1]


def channels_last(samples: np.ndarray) -> np.ndarray:
    """(S, C) of an array (S,), (S, C) or (C, S): the shorter side is the channels; without samples, the longer."""
    if samples.ndim == 1:
        return samples[:, None]
    if samples.ndim != 2:
        raise UsageError(f"the audio has shape {samples.shape}", hint="give (S,), (S, C) or (C, S)")
    is_last = samples.shape[1] <= samples.shape[0]
    return samples if is_last == (samples.size > 0) else samples.T


class ChannelCounter:
    """Counts sources that have more than one channel; ``read_audio`` calls it, from any thread.

    Attributes:
        sources: how many there were; most: channels of the one with the most.
        was_told: whether the note was given before.
    """

    def __init__(self) -> None:
        self.sources, self.most, self.was_told = 0, 1, False
        self._lock = threading.Lock()

    def __call__(self, channels: int) -> None:
        with self._lock:
            self.sources, self.most = self.sources + 1, max(self.most, channels)

    def take_note(self, total: int, channel: int | str) -> str | None:
        """The note for the user about ``total`` utterances, or None; restarts the count."""
        with self._lock:
            found, most, self.sources, self.most = self.sources, self.most, 0, 1
            self.was_told |= found > 0
        return channels_note(found, total, most, channel) if found else None


def channels_note(found: int, total: int, most: int, channel: int | str) -> str:
    """The note for the user that ``found`` of ``total`` utterances have up to ``most`` channels."""
    taken = "the mean of all" if channel == MIX else f"channel {channel}"
    return f"{found} of {total} utterances have more than one channel (up to {most}): {taken} is used"
