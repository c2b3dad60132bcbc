"""Speaker embeddings of a list, or of the results of a run, as Kaldi vectors: what ``funrecipe embed`` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from funrecipe.audio.io import read_audio
from funrecipe.audio.settings import AudioSettings
from funrecipe.data.kaldi_dir import Utterance, read_data_dir, read_scp
from funrecipe.errors import DataError, count
from funrecipe.hub import open_model
from funrecipe.jobs.results import too_many_failed
from funrecipe.jobs.shard_files import write_failed
from funrecipe.speaker.from_results import utterance_vectors
from funrecipe.speaker.vectors import VECTORS, write_vectors

if TYPE_CHECKING:
    import numpy as np

    from funrecipe.speaker.embedding import SpeakerModel


def embed_results(results: Path, output_dir: Path) -> str:
    """Write the vectors that a run with a speaker model has left in ``1best_recog/text``; a line about them."""
    vectors = utterance_vectors(results)
    write_vectors(output_dir, VECTORS, vectors)
    return f"{count(len(vectors), 'embedding')} in {output_dir}"


def embed_list(
    model: str, data: Path, output_dir: Path, *, device: str, audio: AudioSettings, max_failed: int = 0
) -> str:
    """Write ``xvector.ark``, ``xvector.scp`` and, where there are failures, ``failed.scp``; a line about them.

    Args:
        model: folder or id of a speaker model.
        data: a ``wav.scp`` or a data directory.

    Raises:
        IncompleteRunError: more failures than ``max_failed``; only ``failed.scp`` is written, and vectors of an earlier
            run are removed.
        WriteError: the folder cannot be written.
    """
    from funrecipe.decode.device import find_device
    from funrecipe.speaker.embedding import load_speaker_model

    if data.is_dir():
        utterances = read_data_dir(data, allow_pipes=audio.allow_pipes).utterances
    else:
        utterances = read_scp(data, allow_pipes=audio.allow_pipes)
    speaker_model = load_speaker_model(open_model(model), device=find_device(device))
    vectors, failed = _embed(speaker_model, utterances, audio)
    place = output_dir / "failed.scp"
    write_failed(place, failed)
    if len(failed) > max_failed:
        for ending in ("ark", "scp"):
            (output_dir / f"{VECTORS}.{ending}").unlink(missing_ok=True)
        reasons = [f"{key}: {reason} ({path})" for key, (path, reason) in sorted(failed.items())]
        raise too_many_failed(len(failed), f"{len(utterances)} utterances", reasons, where=place)
    write_vectors(output_dir, VECTORS, vectors)
    found = f"{count(len(vectors), 'embedding')} of {speaker_model.embedding_size} numbers in {output_dir}"
    return found + (f", {len(failed)} failed (see {place})" if failed else "")


def _embed(
    model: SpeakerModel, utterances: Iterable[Utterance], audio: AudioSettings
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """By id the embedding (E,), or where the audio cannot be read or is too short, the audio and the reason."""
    vectors: dict[str, np.ndarray] = {}
    failed: dict[str, tuple[str, str]] = {}
    for utterance in utterances:
        try:
            waveform = read_audio(
                utterance.audio,
                sample_rate_hz=model.sample_rate_hz,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
                **vars(audio),
            )
            vectors[utterance.utt_id] = model.embed(waveform)
        except DataError as error:
            failed[utterance.utt_id] = (utterance.audio, error.what)
    return vectors, failed
