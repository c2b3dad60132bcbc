"""``Tasks.speaker_diarization``: who speaks when in a recording, by a VAD model and a speaker model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funrecipe.errors import UsageError
from funrecipe.hub import open_model
from funrecipe.pipelines.calls import as_params, one_of
from funrecipe.pipelines.tasks import Setup
from funrecipe.speaker.clustering import check_speaker_count

COUNT_KEYS = ("n_speakers", "oracle_num", "preset_spk_num")  # ours, ModelScope's, FunASR's
VAD_KEY = "vad_model"


class SpeakerDiarization:
    """A VAD and a speaker model that are called with recordings. Threads may share them."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.speaker.embedding import load_speaker_model
        from funrecipe.vad.detector import load_detector

        setup.check_mode("diarization")
        params = dict(setup.param_dict)
        vad_model = params.pop(VAD_KEY, None)
        if vad_model is None:
            raise UsageError(
                "diarization needs a VAD model", where=VAD_KEY, hint=f"call pipeline(..., {VAD_KEY}=FOLDER_OR_ID)"
            )
        self._n_speakers = speakers_in(params, None)
        device = setup.device()
        self.folder, vad_folder = setup.open_folder(), open_model(vad_model)
        if vad_folder.sample_rate_hz != self.folder.sample_rate_hz:
            raise UsageError(
                f"this VAD model is for {vad_folder.sample_rate_hz} Hz, not {self.folder.sample_rate_hz} Hz",
                where=VAD_KEY,
                hint="give models for the same sampling rate",
            )
        self._sources = setup.sources(self.folder.sample_rate_hz)
        self._model = load_speaker_model(self.folder, device=device, weights=setup.weights)
        self._detector = load_detector(vad_folder, device=device)

    def __call__(
        self,
        audio_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Find the speakers.

        Args:
            audio_in, audio_fs, output_dir: as in :class:`funrecipe.pipelines.SpeechRecognition`; ``rttm`` is written.
            param_dict: ``n_speakers``: how many speak; estimated where it is not given.

        Returns:
            ``{"key", "text"}``, ``text`` a list of ``[start, end, speaker]`` in seconds, speakers numbered from 0;
            for a list or an scp a list of these, in which audio that cannot be read has no turns and an ``error``.

        Raises:
            UsageError: a key of ``param_dict`` that is not known.
            DataError: a single recording, or a list, that cannot be read.
        """
        n_speakers = speakers_in(as_params(param_dict), self._n_speakers)
        call = self._sources.call(audio_in, output_dir)
        results = self._sources.results(
            call, audio_fs, "text", lambda waveform: self._turns(waveform, n_speakers), text=[]
        )
        return call.answer(results, write_results)

    def _turns(self, waveform: np.ndarray, n_speakers: int | None) -> list[list[float]]:
        from funrecipe.speaker.diarization import cut_segments, diarize

        speech = cut_segments(waveform, self._detector.segments(waveform), self.folder.sample_rate_hz)
        found = diarize(self._model, speech, n_speakers)
        return [[turn.start_s, turn.end_s, turn.speaker] for turn in found.turns]


def speakers_in(params: Mapping[str, Any], default: int | None) -> int | None:
    """The number of speakers that a ``param_dict`` names, else ``default``; raises UsageError for another key."""
    value = one_of(params, COUNT_KEYS, default)
    check_speaker_count(value)
    return value


def write_results(output_dir: Path, results: list[dict[str, Any]]) -> None:
    """``rttm``."""
    from funrecipe.score.rttm import SpeakerTurn, write_rttm

    turns = {
        result["key"]: [SpeakerTurn(start_s, end_s, str(who)) for start_s, end_s, who in result["text"]]
        for result in results
    }
    write_rttm(output_dir / "rttm", turns)
