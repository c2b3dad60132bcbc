"""The arguments of a pipeline call, checked, and what the call returns."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import FAMILIES, find_family
from funrecipe.files import unique_name
from funrecipe.hub.client import recorded_revision
from funrecipe.transcription import Transcript

if TYPE_CHECKING:
    from funrecipe.decode.options import DecodeOptions

logger = logging.getLogger(__name__)

SHORT_LIST = 20  # shorter lists show no progress bar
ARRAY_KEY = "utt_id"  # FunASR's key of audio that has no name
STREAM_KEYS = ("cache", "is_final", "chunk_size", "encoder_chunk_look_back", "decoder_chunk_look_back")
RENAMED = {"decoding_model": "decoding_mode"}  # param_dict's name -> DecodeOptions' name


def as_fields(key: str, transcript: Transcript) -> dict[str, Any]:
    """A transcript with the names that ModelScope's users know."""
    if transcript.error is not None:
        return {"key": key, "text": "", "error": transcript.error}
    fields: dict[str, Any] = {"key": key, **_said(transcript)}
    tags = {"language": transcript.language, "emotion": transcript.emotion, "event": transcript.event}
    if any(tags.values()):
        fields |= tags
    if transcript.timestamps_ms is not None:
        fields["timestamp"] = [list(pair) for pair in transcript.timestamps_ms]
    if transcript.is_estimated:
        fields["is_estimated"] = True
    if transcript.nbest:
        fields["nbest"] = [_said(other) for other in transcript.nbest]
    return fields


def _said(transcript: Transcript) -> dict[str, Any]:
    return {"text": transcript.text, "tokens": list(transcript.tokens), "score": transcript.score}


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of a list are done, on stderr, where it is a terminal and the list is longer than a screenful."""
    if total < SHORT_LIST:
        yield lambda done: None
        return
    with tqdm(total=total, unit="utt", disable=None) as bar:  # None: no bar where stderr is not a terminal
        yield lambda done: bar.update(done - bar.n)


def decode_options_of(params: Mapping[str, Any], *, allow_network: bool) -> DecodeOptions:
    """The search options among a ``param_dict``.

    Raises:
        UsageError: a key that neither a search nor a stream knows.
    """
    from funrecipe.decode.options import DecodeOptions

    known = {field.name for field in fields(DecodeOptions)} - {"allow_network"}
    values = {}
    for key, value in params.items():
        name = RENAMED.get(key, key)
        if key in STREAM_KEYS or value is None:
            continue
        if name not in known:
            raise unknown_name("unknown key", key, sorted([*known, *RENAMED, *STREAM_KEYS]), where="param_dict")
        values[name] = value
    if str(values.get("hotword", "")).lower() in ("", "none"):  # how old recipes say "no hotwords"
        values.pop("hotword", None)
    return DecodeOptions(**values, allow_network=allow_network)


def name_sources(sources: Sequence[Any]) -> dict[str, Any]:
    """Sources by key: a file's name up to the first dot, as FunASR has it; made unique, and safe for a list file."""
    named: dict[str, Any] = {}
    numbers = [s for s in sources if isinstance(s, (int, float)) or getattr(s, "ndim", 1) == 0]
    if numbers:
        raise UsageError(
            f"the audio is of type {type(numbers[0]).__name__}; each item of a list is an utterance",
            where="audio_in",
            hint="give the samples of one utterance as an array: numpy.asarray(samples)",
        )
    for source in sources:
        is_path = isinstance(source, (str, os.PathLike))
        if not is_path and not isinstance(source, (bytes, bytearray, memoryview)) and not hasattr(source, "dtype"):
            raise UsageError(
                f"the audio is of type {type(source).__name__}",
                where="audio_in",
                hint="give a path, a URL, bytes, a numpy array, a torch tensor, a list of these, or a wav.scp",
            )
        stem = os.path.basename(str(source)).split(".")[0] if is_path else ARRAY_KEY
        named[unique_name(re.sub(r"\s|[^\w\-=+@]", "_", stem) or ARRAY_KEY, named)] = source
    return named


def place_of(source: Any) -> str:
    """Where a source comes from, for ``failed.scp``."""
    if isinstance(source, Utterance):
        return source.audio
    return str(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"


def is_text_file(text_in: Any) -> bool:
    """Whether what a pipeline is called with is the path of a list of texts, not a text."""
    return isinstance(text_in, os.PathLike) or (isinstance(text_in, str) and text_in.endswith((".txt", ".scp")))


def check_keys(params: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise a UsageError for a key of a ``param_dict`` that is not among ``names``."""
    for key in params:
        if key not in names:
            raise unknown_name("unknown key", key, names, where="param_dict")


def one_of(params: Mapping[str, Any], names: Sequence[str], default: Any) -> Any:
    """The value of the only option of a ``param_dict``, under the first of its ``names`` that is given, else
    ``default``; raises UsageError for another key."""
    check_keys(params, names)
    return next((params[key] for key in names if params.get(key) is not None), default)


def as_params(param_dict: Any) -> Mapping[str, Any]:
    """A ``param_dict``, which may be None. Raises UsageError for anything else."""
    if not isinstance(param_dict, (Mapping, type(None))):
        raise UsageError(f"param_dict is {param_dict!r:.80}", where="param_dict", hint="give a dict")
    return param_dict or {}


def check_cache(cache: Any, kind: type, *, is_final: bool, name: str = "cache") -> MutableMapping[str, Any]:
    """The caller's dict of a stream, whose state is of a ``kind``. Raises UsageError for anything else."""
    if cache is None and is_final:
        return {}  # a whole stream in one call
    is_ours = isinstance(cache, MutableMapping) and not set(cache) - {"stream", "resampler"}
    if not is_ours or not isinstance(cache.get("stream"), (kind, type(None))):
        raise UsageError(
            f"a piece of a stream needs its own cache, not {cache!r:.80}",
            where=f"param_dict['{name}']",
            hint=f'cache = {{}} once; then param_dict={{"{name}": cache, "is_final": False}} until the last piece',
        )
    return cache


def refuse_output_dir(output_dir: Any) -> None:
    if output_dir:
        raise UsageError("a stream writes no files", where="output_dir", hint="keep what the calls return")


def check_is_final(value: Any) -> bool:
    if value not in (None, True, False):
        raise UsageError(f"is_final is {value!r:.80}", where="param_dict['is_final']", hint="give True or False")
    return bool(value)


def check_mode(mode: str | None, family: str) -> None:
    """Raise a UsageError unless ``mode``, ModelScope's name for a way to use a model, fits the family."""
    fitting = find_family(family).zoo_modes
    if mode is None or mode in fitting:
        return
    known = sorted({name for row in FAMILIES.values() for name in row.zoo_modes})
    if mode not in known:
        raise unknown_name("unknown mode", mode, known, where="mode")
    hint = f"use one of: {', '.join(fitting)}" if fitting else "leave it out"
    raise UsageError(f"a model of family '{family}' has no mode '{mode}'", where="mode", hint=hint)


def check_revision(folder: Path, wanted: str | None) -> None:
    there = recorded_revision(folder)
    if wanted is not None and there is None:
        logger.warning("%s: nothing says which revision this is; '%s' was asked for", folder, wanted)
    elif wanted is not None and wanted != there:
        raise UsageError(
            f"revision '{wanted}' was asked for, revision '{there}' is on disk",
            where=str(folder),
            hint=f"get it: funrecipe download <id> --revision {wanted}",
        )
