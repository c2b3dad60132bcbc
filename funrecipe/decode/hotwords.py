"""Hotwords: read from a file, a URL or a string, spelled with the model's vocabulary."""

from __future__ import annotations

import json
import logging
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import DataError, UsageError
from funrecipe.network import fetch_url, is_url
from funrecipe.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

_WEIGHT = r"[-+]?(?:[0-9]{1,3}(?:\.[0-9]+)?|\.[0-9]+)"  # 10086 is a word
_LINE_WITH_WEIGHT = re.compile(rf"(.*\S)\s+({_WEIGHT})")
_WORD_AND_WEIGHT = re.compile(rf"(\S+)(?:\s+({_WEIGHT})(?!\S))?")
_ENDS_IN_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]$")
_WARNED: set[str] = set()  # sources whose weights were already reported

NOTHING = ("", "None")  # FunASR's recipes pass the word None for no hotwords


def read_hotwords(source: str | None, *, allow_network: bool = False) -> list[str]:
    """Hotwords of a file (one per line), a URL of such a file, or a string of words separated by spaces.

    FunASR's runtime takes ``WORD WEIGHT``, or a JSON object of them: the weights, which are not used here, are left
    out with a warning.

    Raises:
        UsageError: a file that does not exist, or a URL while the network is not allowed.
        DataError: a file or URL that cannot be read as UTF-8 text.
    """
    if source is None or source.strip() in NOTHING:
        return []
    words = _read(source, allow_network=allow_network)
    return [unicodedata.normalize("NFC", word) for word in words]  # as in vocabularies and scores


def _read(source: str, *, allow_network: bool) -> list[str]:
    if is_url(source):
        content = _decode(fetch_url(source, allow_network=allow_network), source)
    elif os.path.isfile(source):  # Path.is_file raises where many words are longer than a file name may be
        content = _decode(Path(source).read_bytes(), source)
    elif source.lstrip().startswith("{"):
        content = source
    elif source.endswith(".txt") or "/" in source:
        raise UsageError(f"no hotword file '{source}'", where="hotword", hint="give a file, a URL or the words")
    else:
        return _without_weights(_WORD_AND_WEIGHT.findall(source), source)
    if (weighted := _read_json(content)) is not None:
        return _without_weights(weighted, source)
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    parts = [match.groups() if (match := _LINE_WITH_WEIGHT.fullmatch(line)) else (line, "") for line in lines]
    if not all(weight for _, weight in parts):  # "Windows 10" beside lines without a number is a name
        parts = [
            (word, weight) if _ENDS_IN_CJK.search(word) else (line, "") for line, (word, weight) in zip(lines, parts)
        ]
    return _without_weights(parts, source)


def _read_json(content: str) -> list[tuple[str, str]] | None:
    """The words of ``{"WORD": WEIGHT, ...}``; None for anything else."""
    try:
        found = json.loads(content) if content.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return [(str(word).strip(), str(weight)) for word, weight in found.items()] if isinstance(found, dict) else None


def _without_weights(parts: Sequence[tuple[str, str]], source: str) -> list[str]:
    weighted = [f"{word} {weight}" for word, weight in parts if weight]
    if weighted and source not in _WARNED:
        _WARNED.add(source)
        logger.warning(
            "%d hotwords have a weight, which is ignored: '%s'%s",
            len(weighted),
            weighted[0],
            " ..." * (len(weighted) > 1),
        )
    return [word for word, _ in parts if word]


def spell_hotwords(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of the words; one that the vocabulary cannot spell is left out with a warning."""
    spelled = []
    for word in words:
        if missing := tokenizer.missing(word):
            logger.warning("hotword '%s' is left out: the vocabulary has no %s", word, ", ".join(map(repr, missing)))
        else:
            spelled.append(tokenizer.encode(word))
    return spelled


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"hotwords are not UTF-8 (byte {error.start})", where=where) from None
