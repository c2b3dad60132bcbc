"""Cut the recordings of a list, in several processes: where the pieces are, without recognizing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from funrecipe.audio.io import read_audio, stream_audio
from funrecipe.audio.settings import AudioSettings
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError
from funrecipe.files import make_folder, write_text
from funrecipe.identity import code_version, file_stamp, value_digest
from funrecipe.model_folder import open_model_folder
from funrecipe.recordings.cutting import Cutter, QuietCutter
from funrecipe.recordings.piece_list import DIGEST, PIECES, CutRecording, PieceTimes, write_piece_dir


@dataclass(frozen=True)
class CutOptions:
    """How recordings are cut and read.

    Attributes:
        vad: folder of a VAD model; None: where it is quiet.
        sample_rate_hz: at which they are cut; a VAD model has its own.
        max_piece_s: longest piece.
        merge_s: segments of a VAD are taken together up to this length; 0: they are not.
    """

    vad: Path | None
    max_piece_s: float
    sample_rate_hz: int = 16000
    audio: AudioSettings = AudioSettings()
    merge_s: float = 0.0


def cut_recordings(
    utterances: Sequence[Utterance], options: CutOptions, *, processes: int = 1
) -> Iterator[CutRecording]:
    """The pieces of every recording, in order; one that cannot be read has an ``error``."""
    if processes == 1 or len(utterances) < 2:
        yield from (_cut(utterance, options) for utterance in utterances)
        return
    with ProcessPoolExecutor(min(processes, len(utterances)), get_context("spawn"), _one_thread) as pool:
        yield from pool.map(_cut, utterances, [options] * len(utterances))


def cut_to_dir(
    utterances: Sequence[Utterance], piece_dir: Path, options: CutOptions, *, processes: int = 1
) -> list[CutRecording] | None:
    """Write the pieces of all recordings as a piece directory; None where it has those of the same audio and options.

    Raises:
        UsageError, DataError, WriteError: as :func:`make_cutter` and :func:`write_piece_dir`.
    """
    stamps = [(u.utt_id, u.audio, u.start_s, u.end_s, file_stamp(u.audio)) for u in utterances]
    weights = None if options.vad is None else file_stamp(open_model_folder(options.vad).weights)
    wanted = value_digest([repr(options), weights, repr(stamps), code_version()])
    done = piece_dir / DIGEST
    if done.is_file() and (piece_dir / PIECES).is_file() and done.read_text().strip() == wanted:
        return None
    make_cutter(options)  # a wrong model or option is an error now, not in every process, and leaves no folder
    make_folder(piece_dir)  # a folder that cannot be made is an error now, not when all recordings are cut
    done.unlink(missing_ok=True)
    cut = list(cut_recordings(utterances, options, processes=processes))
    write_piece_dir(piece_dir, utterances, cut)
    write_text(done, f"{wanted}\n")
    return cut


@lru_cache(maxsize=1)
def make_cutter(options: CutOptions) -> Cutter:
    """The cutter of some options, made once in a process."""
    if options.vad is None:
        return QuietCutter(options.sample_rate_hz, options.max_piece_s)
    from funrecipe.recordings.vad_pieces import VadCutter
    from funrecipe.vad.detector import load_detector

    return VadCutter(load_detector(open_model_folder(options.vad)), options.max_piece_s, merge_s=options.merge_s)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _cut(utterance: Utterance, options: CutOptions) -> CutRecording:
    cutter = make_cutter(options)
    rate_hz = options.sample_rate_hz if options.vad is None else open_model_folder(options.vad).sample_rate_hz
    samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in _blocks(utterance, options, rate_hz):
            samples += len(block)
            yield block

    try:
        pieces = [
            PieceTimes(
                piece.start_ms,
                piece.end_ms,
                piece.heard_from_ms,
                piece.heard_from_ms + len(piece.samples) * 1000 // rate_hz,
                piece.cut_ms,
            )
            for piece in cutter.cut(counted())
            if len(piece.samples) * 1000 >= rate_hz  # lists of pieces count in ms
        ]
    except DataError as error:
        return CutRecording(utterance.utt_id, error=error.what)
    return CutRecording(utterance.utt_id, samples * 1000 // rate_hz, tuple(pieces))


def _blocks(utterance: Utterance, options: CutOptions, rate_hz: int) -> Iterator[np.ndarray]:
    reading = {"sample_rate_hz": rate_hz, **vars(options.audio)}
    if utterance.start_s is None and utterance.end_s is None:
        return stream_audio(utterance.audio, **reading)
    return iter([read_audio(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s, **reading)])
