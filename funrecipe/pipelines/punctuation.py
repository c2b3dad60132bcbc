"""``Tasks.punctuation``: text without marks -> text with them, whole or as it comes from a recognizer."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.errors import UsageError
from funrecipe.files import write_text
from funrecipe.pipelines.calls import as_params, check_keys, is_text_file, refuse_output_dir
from funrecipe.pipelines.tasks import Setup
from funrecipe.punctuation.render import DEFAULT_RULES

TEXT_KEY = "demo"  # FunASR's key of a text that has no name
RESULT_FILE = "infer.out"
MODES = {"punc": False, "punc_VadRealtime": True}
KEYS = ("text_rules", "cache")  # of a call; of a pipeline the first


class Punctuation:
    """A loaded punctuation model that is called with texts. Threads may share it; each stream belongs to its cache."""

    def __init__(self, setup: Setup) -> None:
        from funrecipe.punctuation.punctuator import check_rules, load_punctuator

        device = setup.device()
        self.folder = setup.open_folder()
        self._output_dir, self._defaults = setup.output_dir, dict(setup.param_dict)
        check_keys(self._defaults, KEYS[:1])
        check_rules(self._defaults.get("text_rules", DEFAULT_RULES))
        self._punctuator = load_punctuator(self.folder, device=device, weights=setup.weights)
        if setup.mode is not None and MODES.get(setup.mode) is not self._punctuator.network.realtime:
            own = next(name for name, realtime in MODES.items() if realtime is self._punctuator.network.realtime)
            raise UsageError(f"this punctuation model has no mode '{setup.mode}'", where="mode", hint=f"use {own}")

    def __call__(
        self,
        text_in: Any,
        output_dir: str | Path | None = None,
        param_dict: MutableMapping[str, Any] | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Punctuate.

        Args:
            text_in: a text, a list of texts, or the path of a file of ``key text`` lines (``*.txt``, ``*.scp``).
            output_dir: where ``infer.out`` is written (``key <tab> text``), in place of the pipeline's.
            param_dict: ``text_rules`` (``0.7``, ``0.8`` or ``1.4``: see docs/punctuation.md); for a stream ``cache``:
                an empty list at the start, which every call replaces by the one for the next call.

        Returns:
            ``{"key", "text"}``, or for a list or a file a list of these. With a ``cache``, what this text adds.

        Raises:
            UsageError: a key that is not known, or a stream where the model punctuates whole texts only.
            DataError: a file that cannot be read.
        """
        params = {**self._defaults, **as_params(param_dict)}
        check_keys(params, KEYS)
        rules = params.get("text_rules", DEFAULT_RULES)
        target = Path(output_dir) if output_dir else self._output_dir
        if "cache" in params:
            if "text_rules" in param_dict:  # type: ignore[operator]
                raise UsageError("text_rules has no effect on a stream", where="param_dict", hint="leave it out")
            refuse_output_dir(target)
            text, param_dict["cache"] = self._feed(text_in, params["cache"])  # type: ignore[index]
            return {"key": TEXT_KEY, "text": text}
        if is_text_file(text_in):
            texts = read_texts(Path(text_in))
        elif isinstance(text_in, (list, tuple)) and all(isinstance(text, str) for text in text_in):
            texts = {f"{TEXT_KEY}_{i}" if i > 1 else TEXT_KEY: text for i, text in enumerate(text_in, 1)}
        elif isinstance(text_in, str):
            texts = {TEXT_KEY: text_in}
        else:
            raise UsageError(f"a text of type {type(text_in).__name__}", where="text_in", hint="give a text or a list")
        results = [{"key": key, "text": self._punctuator.punctuate(text, rules).text} for key, text in texts.items()]
        if target is not None:
            write_text(target / RESULT_FILE, (f"{result['key']}\t{result['text']}\n" for result in results))
        return results[0] if isinstance(text_in, str) and not is_text_file(text_in) else results

    def _feed(self, text: Any, cache: Any) -> tuple[str, list[str]]:
        if not self._punctuator.network.realtime:
            raise UsageError(
                "this model punctuates whole texts and does not take them piece by piece",
                where="param_dict['cache']",
                hint="leave the cache out, or use a model with vad_realtime in its name",
            )
        if not isinstance(cache, list) or not all(isinstance(word, str) and word for word in cache):
            hint = "give an empty list, and later what the last call left in param_dict['cache']"
            raise UsageError(f"cache is {cache!r:.80}", where="param_dict['cache']", hint=hint)
        if not isinstance(text, str):
            raise UsageError(f"a text of type {type(text).__name__}", where="text_in", hint="give a text")
        added, _, cache = self._punctuator.feed(text, cache)
        return added, cache
