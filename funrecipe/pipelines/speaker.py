"""``Tasks.speaker_verification``: embeddings, and whether two recordings have the same speaker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text
from funrecipe.pipelines.calls import as_params, name_sources, one_of, place_of
from funrecipe.pipelines.tasks import Setup

THRESHOLD_KEYS = ("threshold", "thr", "sv_threshold")  # ours, ModelScope's, FunASR's


class SpeakerVerification:
    """A loaded speaker model that is called with one recording, a pair or a list. Threads may share it."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.speaker.embedding import load_speaker_model
        from funrecipe.speaker.verification import threshold_of

        setup.check_mode("a speaker model", "sv")
        device = setup.device()
        self.folder = setup.open_folder()
        self._sources = setup.sources(self.folder.sample_rate_hz)
        self._model = load_speaker_model(self.folder, device=device, weights=setup.weights)
        self.threshold = threshold_in(setup.param_dict, threshold_of(self.folder))

    def __call__(
        self,
        audio_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Embed or compare.

        Args:
            audio_in: one recording, a ``wav.scp`` or a list of recordings to embed; two recordings to compare.
            audio_fs, output_dir: as in :class:`funrecipe.pipelines.SpeechRecognition`.
            param_dict: ``threshold``: from which cosine on two recordings count as of the same speaker.

        Returns:
            ``{"key", "spk_embedding"}``, an array (E,); for a list or an scp a list of these, in which audio that
            cannot be embedded has an ``error``. For two recordings ``{"key", "score", "text", "threshold", "scores"}``:
            the cosine, ``yes`` or ``no``, and the percentage of FunASR 0.x, 0 up to the threshold.

        Raises:
            UsageError: a key of ``param_dict`` that is not known.
            DataError: a recording of a pair, or a single one, that cannot be embedded; a list that cannot be read.
        """
        threshold = threshold_in(as_params(param_dict), self.threshold)
        if isinstance(audio_in, (list, tuple)) and len(audio_in) == 2:
            target = Path(output_dir) if output_dir else self._sources.output_dir
            return self._compare(audio_in, audio_fs, threshold, target)
        call = self._sources.call(audio_in, output_dir)
        results = self._sources.results(call, audio_fs, "spk_embedding", self._model.embed)
        return call.answer(results, write_results)

    def _compare(
        self, pair: list[Any] | tuple[Any, Any], audio_fs: int | None, threshold: float, target: Path | None
    ) -> dict[str, Any]:
        from funrecipe.speaker.vectors import write_vectors
        from funrecipe.speaker.verification import verify

        key = next(iter(name_sources(pair)))
        first, second = (self._embed(source, audio_fs) for source in pair)
        self._sources.tell_channels(len(pair))
        found = verify(first, second, threshold)
        if target is not None:
            write_vectors(target, "xvector", {key: first})
            write_vectors(target, "ref_xvector", {key: second})
            write_text(target / "score.txt", f"{key} {found.percent:.6f}\n")
        text = "yes" if found.same_speaker else "no"
        return {"key": key, "score": found.score, "text": text, "threshold": threshold, "scores": [found.percent]}

    def _embed(self, source: Any, audio_fs: int | None) -> np.ndarray:
        try:
            return self._model.embed(self._sources.read(source, audio_fs))
        except DataError as error:
            raise DataError(error.what, where=error.where or place_of(source), hint=error.hint) from None


def write_results(output_dir: Path, results: list[dict[str, Any]]) -> None:
    """``xvector.ark`` and ``xvector.scp``."""
    from funrecipe.speaker.vectors import write_vectors

    write_vectors(output_dir, "xvector", {result["key"]: result["spk_embedding"] for result in results})


def threshold_in(params: Mapping[str, Any], default: float) -> float:
    """The threshold that a ``param_dict`` names, else ``default``; raises UsageError for anything else in it."""
    value = one_of(params, THRESHOLD_KEYS, default)
    if not isinstance(value, (int, float)) or not -1 <= value < 1:
        raise UsageError(f"the threshold is {value!r}", where="param_dict", hint="give a cosine from -1 to below 1")
    return float(value)
