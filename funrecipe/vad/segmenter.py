"""Speech or not, frame by frame -> segments. The rules are those of ``funasr.models.e2e_vad.E2EVadModel`` (0.8.8).

A window of the last frames decides when speech has begun and ended. A segment is opened when it has begun, as far back
as the window and ``lookback_time_start_point`` reach; it is closed after ``max_end_silence_time`` of silence,
``lookahead_time_end_point`` after the speech faded, or when it has become too long. Then everything starts afresh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from funrecipe.vad.options import SINGLE_UTTERANCE, VadOptions


def sounds_like_speech(posteriors: np.ndarray, options: VadOptions) -> np.ndarray:
    """``posteriors`` (T, P) -> (T,) bool: P(speech) exceeds P(silence) by ``speech_noise_thres``."""
    silence = posteriors[:, list(options.sil_pdf_ids)].sum(axis=1)
    speech = (np.float32(1) - silence).astype(np.float64)
    return speech >= silence.astype(np.float64) ** options.speech_2_noise_ratio + options.speech_noise_thres


def segments_of(decisions: Iterable[bool], options: VadOptions) -> list[tuple[int, int]]:
    """``(start, end)`` in ms of the segments of a whole recording, of which the frames are speech or not."""
    segmenter = Segmenter(options)
    boundaries = [*map(segmenter.push, decisions), segmenter.finish()]
    times = [boundary.time_ms for boundary in boundaries if boundary is not None]
    return list(zip(times[::2], times[1::2], strict=True))


class Boundary(NamedTuple):
    """The start or the end of a segment, in ms; ``is_start`` says which."""

    is_start: bool
    time_ms: int


class Segmenter:
    """The state of one recording; give it every frame once.

    Attributes:
        frames: how many frames it has seen.
        in_speech: whether a segment is open.
    """

    def __init__(self, options: VadOptions) -> None:
        frame_ms = options.frame_in_ms
        self.options = options
        self.frames = 0
        self.in_speech = False
        self._has_ended = False  # with detect_mode 0: nothing more is looked for
        self._window: deque[bool] = deque(maxlen=max(1, options.window_size_ms // frame_ms))
        self._window_is_speech = False
        self._silent_frames = 0  # since the window turned to silence
        self._start = 0  # first frame of the open segment
        self._covered = 0  # frames before this one are in the open segment, or cannot be in the next any more
        self._begin_frames = int(options.sil_to_speech_time_thres / frame_ms)
        self._fade_frames = int(options.speech_to_sil_time_thres / frame_ms)
        self._lookahead_frames = int(options.lookahead_time_end_point / frame_ms)
        self._latency_frames = options.window_size_ms // frame_ms
        if options.do_extend:
            self._latency_frames += int(options.lookback_time_start_point / frame_ms)
        self._silence_ms = options.max_end_silence_time - options.speech_to_sil_time_thres
        self._back_frames = int(self._silence_ms / frame_ms)
        if options.do_extend:
            self._back_frames -= self._lookahead_frames + 1
        self._back_frames = max(0, self._back_frames)

    def push(self, is_speech: bool) -> Boundary | None:
        """Take the next frame and say what it decides; a segment starts or ends before this frame."""
        frame = self.frames
        self.frames += 1
        if self._has_ended:
            return None
        was_speech = self._window_is_speech
        self._slide(is_speech)
        self._silent_frames = self._silent_frames + 1 if not (was_speech or self._window_is_speech) else 0
        if self.in_speech:
            return self._inside(frame)
        if self._window_is_speech:
            self._start = max(self._covered, frame - self._latency_frames)
            self._covered = frame + 1
            self.in_speech = True
            return Boundary(True, self._start * self.options.frame_in_ms)
        silence_ms = self._silent_frames * self.options.frame_in_ms
        if self.options.detect_mode == SINGLE_UTTERANCE and silence_ms > self.options.max_start_silence_time:
            self._has_ended = True
        return None

    def finish(self) -> Boundary | None:
        """The recording ends after the last frame that was pushed: close the open segment there."""
        return self._close(self.frames - 1) if self.in_speech else None

    def _slide(self, is_speech: bool) -> None:
        self._window.append(is_speech)
        speech_frames = sum(self._window)
        if self._window_is_speech:
            self._window_is_speech = speech_frames > self._fade_frames
        else:
            self._window_is_speech = speech_frames >= self._begin_frames

    def _inside(self, frame: int) -> Boundary | None:
        options = self.options
        silent = self._silent_frames
        if silent and silent * options.frame_in_ms >= self._silence_ms:
            return self._close(frame - self._back_frames)
        if frame - self._start + 1 > options.max_single_segment_time / options.frame_in_ms:
            return self._close(frame)
        if not silent or (options.do_extend and silent <= self._lookahead_frames):
            self._covered = frame + 1
        return None

    def _close(self, last_frame: int) -> Boundary:
        """End the segment with ``last_frame`` and forget everything but where the next one may start."""
        self._covered = max(self._covered, last_frame) + 1
        self._window.clear()
        self._window_is_speech = self.in_speech = False
        self._silent_frames = 0
        self._has_ended = self.options.detect_mode == SINGLE_UTTERANCE
        return Boundary(False, (last_frame + 1) * self.options.frame_in_ms)
