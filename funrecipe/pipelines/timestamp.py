"""``Tasks.speech_timestamp``: when each token of a known text is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text
from funrecipe.pipelines.calls import as_params, is_text_file
from funrecipe.pipelines.tasks import Setup

RESULT_FOLDER = "timestamp_prediction"


class SpeechTimestamp:
    """A loaded model that is called with audio and its text. Threads may share it."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.decode.text_alignment import load_aligner

        setup.check_mode("a timestamp model", "tp_norm")
        _check_params(setup.param_dict)
        device = setup.device()
        self.folder = setup.open_folder()
        self._batch_size = setup.batch_size
        self._sources = setup.sources(self.folder.sample_rate_hz)
        self._aligner = load_aligner(self.folder, device=device, weights=setup.weights)

    def __call__(
        self,
        audio_in: Any,
        text_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Align.

        Args:
            audio_in, audio_fs, output_dir: as in :class:`funrecipe.pipelines.SpeechRecognition`.
            text_in: the text, words separated by spaces; a list of texts for a list of audio; the path of a file of
                ``key text`` lines for a ``*.scp``.

        Returns:
            ``{"key", "text", "timestamp"}``: ``text`` is ``token start end;...`` in seconds with ``<sil>`` for silence,
            ``timestamp`` has ``[start, end]`` in ms for every token. ``"is_estimated": True`` where the model found
            another number of tokens. For a list or an scp a list of these; audio that cannot be read has an ``error``.

        Raises:
            UsageError: audio and text do not belong together.
            DataError: audio or a list that cannot be read.
        """
        _check_params(as_params(param_dict))
        call = self._sources.call(audio_in, output_dir)
        texts = _texts_of(text_in, list(call.sources), is_single=not call.is_list)
        results: dict[str, dict[str, Any]] = {}
        waveforms: dict[str, np.ndarray] = {}
        for key, source in call.sources.items():
            try:
                waveforms[key] = self._sources.read(source, audio_fs)
            except DataError as error:
                results[key] = call.failure(key, error, text="", timestamp=[])
            if len(waveforms) == self._batch_size:
                results |= self._align(waveforms, texts)
                waveforms = {}
        results |= self._align(waveforms, texts)
        self._sources.tell_channels(len(call.sources))
        in_order = [results[key] for key in call.sources]
        if call.output_dir is not None:
            write_results(call.output_dir, in_order)
        return call.answer(in_order)

    def _align(self, waveforms: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        aligned = self._aligner.align(list(waveforms.values()), [texts[key] for key in waveforms])
        results: dict[str, dict[str, Any]] = {}
        for key, found in zip(waveforms, aligned, strict=True):
            results[key] = {"key": key, "text": found.as_text(), "timestamp": found.times_ms}
            if found.is_estimated:
                results[key]["is_estimated"] = True
        return results


def _check_params(params: Mapping[str, Any]) -> None:
    if params:
        raise UsageError(f"unknown key '{next(iter(params))}'", where="param_dict", hint="leave it out")


def _texts_of(text_in: Any, keys: list[str], *, is_single: bool) -> dict[str, str]:
    """The text of every key."""
    if is_text_file(text_in):
        texts = read_texts(Path(text_in))
        if is_single and len(texts) == 1:
            return {keys[0]: next(iter(texts.values()))}
        missing = [key for key in keys if key not in texts]
        if missing:
            raise DataError(f"no text for '{missing[0]}' ({len(missing)} in all)", where=str(text_in))
        return texts
    given = [text_in] if is_single else text_in
    if not isinstance(given, (list, tuple)) or not all(isinstance(text, str) for text in given):
        raise UsageError(f"text_in is {text_in!r:.80}", where="text_in", hint="give a text, a list of texts or a file")
    if len(given) != len(keys):
        raise UsageError(f"{len(given)} texts for {len(keys)} recordings", where="text_in", hint="give one text each")
    return dict(zip(keys, given, strict=True))


def write_results(output_dir: Path, results: list[dict[str, Any]]) -> None:
    """The original files: ``timestamp_prediction/{tp_sync,tp_time}``, whose keys end in ``#``."""
    folder = output_dir / RESULT_FOLDER
    good = [result for result in results if "error" not in result]
    write_text(folder / "tp_sync", (f"{result['key']}# {result['text']}\n" for result in good))
    write_text(folder / "tp_time", (f"{result['key']}# {result['timestamp']}\n" for result in good))
