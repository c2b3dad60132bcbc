"""Hot words: read from wherever the user keeps them, spelled with the model's vocabulary."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import DataError, UsageError
from funrecipe.network import fetch_url, is_url
from funrecipe.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

NOTHING = ("", "None")  # FunASR's recipes pass the word None when no hot words are set


def read_hotwords(source: str | None, *, allow_network: bool = False) -> list[str]:
    """Hot words of a file (one a line), a URL of such a file, or a string of words separated by blanks.

    Raises:
        UsageError: a file that does not exist, or a URL while the network is not allowed.
        DataError: a file or URL that cannot be read as UTF-8 text.
    """
    if source is None or source.strip() in NOTHING:
        return []
    if is_url(source):
        lines = _decode(fetch_url(source, allow_network=allow_network), source).splitlines()
    elif os.path.isfile(source):  # Path.is_file raises where many words are longer than a file name may be
        lines = _decode(Path(source).read_bytes(), source).splitlines()
    elif source.endswith(".txt") or "/" in source:
        raise UsageError(f"no hot word file '{source}'", where="hotword", hint="give a file, a URL or the words")
    else:
        lines = source.split()
    return [line.strip() for line in lines if line.strip()]


def spell_hotwords(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of the words; one that the vocabulary cannot spell is reported in the log and left out."""
    spelled = []
    for word in words:
        if missing := tokenizer.missing(word):
            logger.warning("hot word '%s' is left out: the vocabulary has no %s", word, ", ".join(map(repr, missing)))
        else:
            spelled.append(tokenizer.encode(word))
    return spelled


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"hot words are not UTF-8 (byte {error.start})", where=where) from None
