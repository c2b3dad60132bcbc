"""What counts as a word for the network: a character that is not ASCII, or a run of ASCII characters between spaces.

Models with ``seg_jieba: true`` use Chinese words instead of characters; the package jieba finds them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import ModelFolder

Splitter = Callable[[str], list[str]]
DICTIONARY = "jieba_usr_dict"


def split_words(text: str) -> list[str]:
    """``今天 hello world吧`` -> ``今 天 hello world 吧``."""
    return [word for part in text.split() for word in re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]", part)]


def is_latin(word: str) -> bool:
    """Whether a word begins with an ASCII character: a space sets it off from another such word."""
    return word[0].isascii()


def splitter_of(folder: ModelFolder) -> Splitter:
    """What a model takes for words. Raises as :func:`word_splitter`."""
    return word_splitter(folder.path / DICTIONARY) if folder.config.get("seg_jieba") else split_words


def word_splitter(user_dictionary: Path) -> Splitter:
    """As :func:`split_words`, with the Chinese words that jieba and ``user_dictionary`` (``jieba_usr_dict``) know.

    Raises:
        UsageError: jieba is not installed.
        DataError: the dictionary is missing.
    """
    if not user_dictionary.is_file():
        raise DataError("the model's dictionary of Chinese words is missing", where=str(user_dictionary))
    try:
        import jieba
    except ImportError:
        hint = "pip install 'funrecipe[jieba]'"
        raise UsageError("this punctuation model needs Chinese words, which jieba finds", hint=hint) from None
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    tokenizer.load_userdict(str(user_dictionary))

    def split(text: str) -> list[str]:
        words: list[str] = []
        for is_english, group in groupby(text.split(), key=_is_english):
            parts = list(group)
            words += parts if is_english else tokenizer.cut("".join(parts), HMM=False)
        return words

    return split


def _is_english(part: str) -> bool:
    return re.fullmatch("[a-zA-Z']+", part) is not None
