"""The token list of a training set, one token per character."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.errors import DataError
from funrecipe.files import write_text
from funrecipe.text.tokenizer import UNKNOWN, WRITTEN_UNKNOWN
from funrecipe.text.units import SPACE, has_space_between_words, inner_marks, is_mark, is_unspaced, split_characters

log = logging.getLogger(__name__)
SPECIAL = ("<blank>", "<s>", "</s>")


def write_token_list(
    data_dir: Path, path: Path, *, min_count: int = 1, extra: Iterable[str] = (), space: bool | None = None
) -> int:
    """Write ``tokens.txt`` of a training set: blank, sos, eos, sorted characters, unknown. Returns its length.

    Args:
        min_count: characters that occur less often become unknown.
        extra: characters to add to those of the texts.
        space: whether the list gets ``<space>`` and the marks inside words, so that spaces between words are kept;
            None: if most letters are of a script that has such spaces. Logs what a list without it loses.

    Raises:
        DataError: there is no text.
    """
    listed = read_data_dir(data_dir).texts
    if not listed:
        raise DataError("no text to take tokens from", where=str(data_dir))
    texts = [WRITTEN_UNKNOWN.sub(" ", text) for text in listed.values()]
    counts = Counter(c for text in texts for c in split_characters(text) if not is_mark(c))
    spaced_texts = sum(has_space_between_words(text) for text in texts)
    if space is None:
        spaced = sum(n for c, n in counts.items() if not is_unspaced(c) and c.isalpha())
        space = spaced_texts > 0 and 2 * spaced > sum(n for c, n in counts.items() if c.isalpha())
    if space:
        counts += Counter(mark for text in texts for mark in inner_marks(text.lower()))
        log.info("%s: %d of %d texts hold spaces between words: the list has %s", path, spaced_texts, len(texts), SPACE)
    elif spaced_texts:
        log.warning(
            "%d of %d texts hold spaces between words (English in Chinese?), which are lost in training and in results:"
            " --space true keeps them with a token %s", spaced_texts, len(texts), SPACE,
        )  # fmt: skip
    characters = {c for c, n in counts.items() if n >= min_count} | set(extra)
    tokens = [*SPECIAL, *([SPACE] if space else []), *sorted(characters), UNKNOWN]
    write_text(path, "".join(f"{token}\n" for token in tokens))
    return len(tokens)
