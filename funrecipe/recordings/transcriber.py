"""Recordings in, transcripts out: cut, recognize in batches across recordings, assemble.

Pieces of several recordings wait together until they fill a batch; a recording is read only as far as that needs, and
its transcript comes as soon as its last piece is recognized. Results depend on the recording alone, never on what it
was batched with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from funrecipe.errors import DataError
from funrecipe.recordings.assemble import Punctuates, Recognized, assemble
from funrecipe.recordings.cutting import Cutter, Piece
from funrecipe.recordings.joining import PieceRecognizer, Recognizer
from funrecipe.recordings.piece_list import PieceTimes
from funrecipe.recordings.transcript import RecordingTranscript

# Padding counted. On a CPU half of what decoding a list takes: memory then grows by 9 % from 10 to 60 minutes of audio,
# else by 19 %.
BATCH_AUDIO_S = {"cpu": 25.0, "cuda": 1200.0}
BATCH_SIZE = 64
HELD_BATCHES = 4  # so many batches of pieces are held, so that those of one batch are of similar length


class SpeakerFinder(Protocol):
    """Finds the speakers of one recording."""

    def add(self, start_s: float, samples: np.ndarray) -> None:
        """A piece of speech, in any order."""
        ...

    def speakers_of(self, sentences_ms: Sequence[Sequence[int]]) -> Sequence[int]:
        """The speaker of each ``[start, end]``, when all pieces were added."""
        ...


SpeakerHook = Callable[[], SpeakerFinder]  # makes a finder for every recording


@dataclass(frozen=True)
class Failure:
    """A recording that has no transcript, and why."""

    key: str
    error: DataError


@dataclass
class _Recording:
    key: str
    pieces: list[Piece] = field(default_factory=list)
    results: dict[int, Recognized] = field(default_factory=dict)
    speakers: SpeakerFinder | None = None
    duration_ms: int = 0
    is_read: bool = False
    error: DataError | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or (self.is_read and len(self.results) == len(self.pieces))


class RecordingTranscriber:
    """Transcribes recordings.

    Args:
        recognizer: any recognizer of whole utterances.
        cutter: makes the pieces.
        punctuator: adds marks; text_rules: how they are written.
        speaker_hook: makes what finds the speakers of a recording.
        batch_audio_s, batch_size: of the recognizer.
        on_progress: called with the seconds of audio that were recognized since the last call.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        cutter: Cutter,
        *,
        punctuator: Punctuates | None = None,
        text_rules: str = "1.4",
        speaker_hook: SpeakerHook | None = None,
        batch_audio_s: float = BATCH_AUDIO_S["cpu"],
        batch_size: int = BATCH_SIZE,
        on_progress: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.recognizer, self.cutter = recognizer, cutter
        self._pieces = PieceRecognizer(recognizer, batch_audio_s=batch_audio_s, batch_size=batch_size)
        self.punctuator, self.text_rules, self.speaker_hook = punctuator, text_rules, speaker_hook
        self.on_progress = on_progress

    def transcribe(
        self, recordings: Iterable[tuple[str, Iterable[np.ndarray]]]
    ) -> Iterator[RecordingTranscript | Failure]:
        """One result per recording, in order.

        Args:
            recordings: id and blocks (S,) of samples at the recognizer's rate; an error that reading them raises
                is the failure of that recording.
        """
        waiting: list[tuple[_Recording, int]] = []
        open_recordings: list[_Recording] = []
        for key, blocks in recordings:
            recording = _Recording(key, speakers=self.speaker_hook() if self.speaker_hook else None)
            open_recordings.append(recording)
            for piece in self._pieces_of(recording, blocks):
                waiting.append((recording, len(recording.pieces)))
                recording.pieces.append(piece)
                if sum(len(r.pieces[i].samples) for r, i in waiting) > HELD_BATCHES * self._pieces.batch_samples:
                    self._recognize(waiting)
            yield from self._finished(open_recordings)
        self._recognize(waiting)
        yield from self._finished(open_recordings)

    def _pieces_of(self, recording: _Recording, blocks: Iterable[np.ndarray]) -> Iterator[Piece]:
        samples = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        try:
            yield from self.cutter.cut(counted())
        except DataError as error:
            recording.error = error
        recording.duration_ms = round(1000 * samples / self.recognizer.sample_rate_hz)
        recording.is_read = True

    def _recognize(self, waiting: list[tuple[_Recording, int]]) -> None:
        """Recognize all pieces that wait, longest first, and forget their samples."""
        todo = [(recording, i) for recording, i in waiting if recording.error is None]
        waiting.clear()
        for numbers in self._pieces.batches([len(recording.pieces[i].samples) for recording, i in todo]):
            batch = [todo[number] for number in numbers]
            pieces = [recording.pieces[i] for recording, i in batch]
            for (recording, i), piece, hypothesis in zip(
                batch, pieces, self._pieces.transcribe([piece.samples for piece in pieces]), strict=True
            ):
                if recording.speakers is not None:
                    recording.speakers.add(piece.heard_from_ms / 1000, piece.samples)
                heard_ms = round(1000 * len(piece.samples) / self.recognizer.sample_rate_hz)
                heard_to_ms = piece.heard_from_ms + heard_ms
                times = PieceTimes(piece.start_ms, piece.end_ms, piece.heard_from_ms, heard_to_ms, piece.cut_ms)
                recording.results[i] = Recognized(times, hypothesis)
                recording.pieces[i] = replace(piece, samples=piece.samples[:0].copy())
            self.on_progress(sum(piece.end_ms - piece.start_ms for piece in pieces) / 1000)

    def _finished(self, recordings: list[_Recording]) -> Iterator[RecordingTranscript | Failure]:
        """The results of the first recordings that are done."""
        while recordings and recordings[0].is_done:
            recording = recordings.pop(0)
            if recording.error is not None:
                yield Failure(recording.key, recording.error)
                continue
            yield assemble(
                recording.key,
                recording.duration_ms,
                [recording.results[i] for i in range(len(recording.pieces))],
                punctuator=self.punctuator,
                text_rules=self.text_rules,
                speakers_of=recording.speakers.speakers_of if recording.speakers else None,
            )
