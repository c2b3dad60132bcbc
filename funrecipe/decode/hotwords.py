"""Hot words: read from wherever the user keeps them, spelled with the model's vocabulary."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from funrecipe.errors import DataError, UsageError
from funrecipe.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

URL_TIMEOUT_S = 20.0
MAX_URL_BYTES = 1 << 20
NOTHING = ("", "None")  # FunASR's recipes pass the word None when no hot words are set


def read_hotwords(source: str | None, *, allow_network: bool = False) -> list[str]:
    """Hot words of a file (one a line), a URL of such a file, or a string of words separated by blanks.

    Raises:
        UsageError: a file that does not exist, or a URL while the network is not allowed.
        DataError: a file or URL that cannot be read as UTF-8 text.
    """
    if source is None or source.strip() in NOTHING:
        return []
    if source.startswith(("http://", "https://")):
        lines = _fetch(source, allow_network).splitlines()
    elif Path(source).is_file():
        lines = _read(Path(source)).splitlines()
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


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read hot words: {error}", where=str(path)) from None


def _fetch(url: str, allow_network: bool) -> str:
    if not allow_network:
        raise UsageError(f"hot words from {url} need the network, which is not allowed", where="hotword",
                         hint="download the file and give its path, or allow network use")
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT_S) as response:
            content = response.read(MAX_URL_BYTES + 1)
        if len(content) > MAX_URL_BYTES:
            raise DataError(f"more than {MAX_URL_BYTES} bytes", where=url)
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot fetch hot words: {error}", where=url) from None
