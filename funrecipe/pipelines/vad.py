"""``Tasks.voice_activity_detection``: where in a recording or a stream somebody speaks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError, UsageError
from funrecipe.files import write_text
from funrecipe.jobs.results import RESULTS
from funrecipe.pipelines.calls import ARRAY_KEY, check_is_final, name_sources, place_of
from funrecipe.pipelines.setup import Setup

logger = logging.getLogger(__name__)

CACHE_KEYS = ("in_cache", "cache")
MODES = ("offline", "online")


class VoiceActivityDetection:
    """A loaded VAD model that is called with audio. Threads may share it; each stream belongs to its ``in_cache``."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.vad.detector import load_detector

        if setup.mode not in (None, *MODES):
            raise UsageError(
                f"a VAD model has no mode '{setup.mode}'", where="mode", hint=f"it has: {', '.join(MODES)}"
            )
        device = setup.device()
        self.folder = setup.open_folder()
        self._output_dir = setup.output_dir
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
        params = dict(param_dict or {})
        target = Path(output_dir) if output_dir is not None else self._output_dir
        if any(key in params for key in (*CACHE_KEYS, "is_final")):
            return self._feed(audio_in, audio_fs, params, target)
        options = self._detector.options.over(params)
        sources = self._sources.in_list(audio_in, target)
        if sources is not None:
            results = []
            for key, source in sources.items():
                try:
                    waveform = self._sources.read(source, audio_fs)
                    results.append({"key": key, "text": self._detector.segments(waveform, options)})
                except DataError as error:
                    logger.warning("%s (%s): %s", key, place_of(source), error.what)
                    results.append({"key": key, "text": [], "error": error.what})
        else:
            ((key, source),) = name_sources([audio_in]).items()
            results = [{"key": key, "text": self._detector.segments(self._sources.read(source, audio_fs), options)}]
        self._sources.tell_channels(len(results))
        if target is not None:
            write_results(target, results, {key: place_of(source) for key, source in (sources or {}).items()})
        return results if sources is not None else results[0]

    def _feed(
        self, audio_in: Any, audio_fs: int | None, params: dict[str, Any], output_dir: Path | None
    ) -> dict[str, Any]:
        """One piece of a stream. The caller's cache holds the detector's state and, if needed, a resampler."""
        if output_dir is not None:
            raise UsageError("a stream writes no files", where="output_dir", hint="keep what the calls return")
        is_final = check_is_final(params.pop("is_final", None))
        caches = [cache for key in CACHE_KEYS if (cache := params.pop(key, None)) is not None]
        cache = caches[0] if caches else ({} if is_final else None)
        if not isinstance(cache, MutableMapping) or set(cache) - {"stream", "resampler"}:
            raise UsageError(
                f"a piece of a stream needs its own cache, not {cache!r:.80}",
                where="param_dict['in_cache']",
                hint='cache = {} once; then param_dict={"in_cache": cache, "is_final": False} until the last piece',
            )
        samples = self._sources.read_piece(audio_in, audio_fs, cache, is_final=is_final)
        if "stream" not in cache:
            cache["stream"] = self._detector.start(self._detector.options.over(params))
        events = self._detector.feed(samples, cache["stream"], is_final=is_final)
        if is_final:
            cache.clear()
        return {"key": ARRAY_KEY, "text": events}


def write_results(output_dir: Path, results: list[dict[str, Any]], places: Mapping[str, str]) -> None:
    """``1best_recog/text`` (``key [[start, end], ...]``) and ``failed.scp``."""
    (output_dir / RESULTS).mkdir(parents=True, exist_ok=True)
    good = [result for result in results if "error" not in result]
    bad = [result for result in results if "error" in result]
    write_text(output_dir / RESULTS / "text", "".join(f"{result['key']} {result['text']}\n" for result in good))
    failed = "".join(f"{result['key']}\t{places[result['key']]}\t{result['error']}\n" for result in bad)
    write_text(output_dir / "failed.scp", failed)
