"""``Tasks.voice_activity_detection``: where in a recording or a stream somebody speaks."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from funrecipe.files import write_text
from funrecipe.jobs.results import RESULTS
from funrecipe.pipelines.calls import ARRAY_KEY, as_params, check_cache, check_is_final, refuse_output_dir
from funrecipe.pipelines.tasks import Setup

CACHE_KEYS = ("in_cache", "cache")


class VoiceActivityDetection:
    """A loaded VAD model that is called with audio. Threads may share it; each stream belongs to its ``in_cache``."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.vad.detector import load_detector

        setup.check_mode("a VAD model", "offline", "online")
        device = setup.device()
        self.folder = setup.open_folder()
        self._sources = setup.sources(self.folder.sample_rate_hz)
        self._detector = load_detector(self.folder, device=device, options=setup.param_dict, weights=setup.weights)

    def __call__(
        self,
        audio_in: Any,
        audio_fs: int | None = None,
        output_dir: str | Path | None = None,
        param_dict: MutableMapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Detect.

        Args:
            audio_in, audio_fs, output_dir: as in :class:`funrecipe.pipelines.SpeechRecognition`.
            param_dict: fields of ``VadOptions`` for this call (``max_end_sil`` is ``max_end_silence_time``); for a
                piece of a stream also ``in_cache`` (the caller's dict, empty at the start) and ``is_final``. The
                options of a stream are those of its first piece.

        Returns:
            ``{"key", "text"}``, ``text`` a list of ``[start, end]`` in ms; for a list or an scp a list of these, in
            which audio that cannot be read has no segments and an ``error``. A piece of a stream gives what it decided:
            ``[start, -1]`` where somebody begins to speak, ``[-1, end]`` where they stop, ``[start, end]`` for both.

        Raises:
            UsageError: an option that is not known, or a piece without its cache.
            DataError: audio or a list that cannot be read.
        """
        params = dict(as_params(param_dict))
        if any(key in params for key in (*CACHE_KEYS, "is_final")):
            refuse_output_dir(output_dir or self._sources.output_dir)
            return self._feed(audio_in, audio_fs, params)
        options = self._detector.options.over(params)
        call = self._sources.call(audio_in, output_dir)
        results = self._sources.results(
            call, audio_fs, "text", lambda waveform: self._detector.segments(waveform, options), text=[]
        )
        return call.answer(results, write_results)

    def _feed(self, audio_in: Any, audio_fs: int | None, params: dict[str, Any]) -> dict[str, Any]:
        """One piece of a stream. The caller's cache holds the detector's state and, if needed, a resampler."""
        from funrecipe.vad.detector import VadState

        is_final = check_is_final(params.pop("is_final", None))
        caches = [cache for key in CACHE_KEYS if (cache := params.pop(key, None)) is not None]
        cache = check_cache(next(iter(caches), None), VadState, is_final=is_final, name=CACHE_KEYS[0])
        samples = self._sources.read_piece(audio_in, audio_fs, cache, is_final=is_final)
        if "stream" not in cache:
            cache["stream"] = self._detector.start(self._detector.options.over(params))
        events = self._detector.feed(samples, cache["stream"], is_final=is_final)
        if is_final:
            cache.clear()
        return {"key": ARRAY_KEY, "text": events}


def write_results(output_dir: Path, results: list[dict[str, Any]]) -> None:
    """``1best_recog/text``: ``key [[start, end], ...]``."""
    write_text(output_dir / RESULTS / "text", (f"{result['key']} {result['text']}\n" for result in results))
