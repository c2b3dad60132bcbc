"""Embeddings of a list of recordings, with every one of them accounted for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from funrecipe.audio.io import read_audio
from funrecipe.audio.settings import AudioSettings
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError, IncompleteRunError, list_problems
from funrecipe.files import write_text
from funrecipe.speaker.embedding import SpeakerModel
from funrecipe.speaker.vectors import VECTORS, write_vectors


@dataclass
class Embeddings:
    """By key the embedding (E,), or where there is none the audio and the reason."""

    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)


def embed_list(model: SpeakerModel, utterances: Iterable[Utterance], audio: AudioSettings) -> Embeddings:
    """Embed utterances one by one; one that cannot be read or is too short is listed as failed."""
    found = Embeddings()
    for utterance in utterances:
        try:
            waveform = read_audio(
                utterance.audio,
                sample_rate_hz=model.sample_rate_hz,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
                **vars(audio),
            )
            found.vectors[utterance.utt_id] = model.embed(waveform)
        except DataError as error:
            found.failed[utterance.utt_id] = (utterance.audio, error.what)
    return found


def publish(found: Embeddings, output_dir: Path, *, max_failed: int = 0) -> None:
    """Write ``xvector.ark``, ``xvector.scp`` and, where there are failures, ``failed.scp``.

    Raises:
        IncompleteRunError: more failures than ``max_failed``; only ``failed.scp`` is written, and vectors of an earlier
            run are removed.
        WriteError: the folder cannot be written.
    """
    failed = output_dir / "failed.scp"
    if found.failed:
        rows = sorted(found.failed.items())
        write_text(failed, (f"{key}\t{audio}\t{reason}\n" for key, (audio, reason) in rows))
    else:
        failed.unlink(missing_ok=True)
    if len(found.failed) > max_failed:
        for ending in ("ark", "scp"):
            (output_dir / f"{VECTORS}.{ending}").unlink(missing_ok=True)
        reasons = [f"{key}: {reason} ({audio})" for key, (audio, reason) in sorted(found.failed.items())]
        total = len(found.failed) + len(found.vectors)
        raise IncompleteRunError(
            f"{len(found.failed)} of {total} utterances failed, nothing was published:\n{list_problems(reasons)}",
            where=str(failed),
            hint=f"fix the audio and rerun, or pass --max_failed {len(found.failed)} to accept the failures",
        )
    write_vectors(output_dir, VECTORS, found.vectors)
