"""Word n-grams of open-gram, as SunPinyin's model file ``lm_sc.t3g`` and dictionary ``pydict_sc.bin`` hold them.

Both files are little-endian. The model is a trie: level 0 is the root, a node of level n is the last word of an n-gram
and names its first child in level n + 1; a level ends with a sentinel. Probabilities and back-off weights are indices
into two tables.
The layout is that of SunPinyin's ``CThreadSlm`` (src/slm/slm.h) and ``CPinyinTrie`` (src/lexicon/pytrie.h).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from funrecipe.errors import DataError

ORDER = 3
PROBABILITIES, BACKOFFS = 1 << 16, 1 << 14
NODE, LEAF = 3, 2  # 32-bit words each
MODEL, DICTIONARY = "lm_sc.t3g", "pydict_sc.bin"


@dataclass(frozen=True)
class WordNgrams:
    """The n-grams of one order.

    words: (G, n) word ids; probabilities: (G,) of the last word after the others; parents: (G,) where the history is
    among the n-grams one order below; unseen: (G,) what the words that never follow share, 1 for the highest order.
    """

    words: np.ndarray
    probabilities: np.ndarray
    parents: np.ndarray
    unseen: np.ndarray


def read_words(path: Path) -> list[str]:
    """The words by id; ids without a word have an empty one.

    Raises:
        DataError: not a dictionary of SunPinyin.
    """
    content = path.read_bytes()
    n_words, _, offset = (int(x) for x in np.frombuffer(content, "<u4", 3)) if len(content) >= 12 else (0, 0, 0)
    if not 12 <= offset <= len(content) or (len(content) - offset) % 4:
        raise not_this(path, "dictionary")
    try:
        words = content[offset:].decode("utf-32-le").split("\0")
    except UnicodeDecodeError:
        words = []
    if len(words) != n_words + 1:
        raise not_this(path, "dictionary")
    return words[:-1]


def read_ngrams(path: Path) -> list[WordNgrams]:
    """Unigrams, bigrams and trigrams.

    Raises:
        DataError: not a trigram model of SunPinyin, or a piece of one.
    """
    content = np.fromfile(path, "<u4", count=path.stat().st_size // 4)
    header = [int(x) for x in content[: 2 + ORDER + 1]]
    if len(header) < 2 + ORDER + 1 or header[:2] != [ORDER, 0]:
        raise not_this(path, "trigram model")
    sizes = header[2:]
    ends = np.cumsum([len(header), PROBABILITIES, BACKOFFS, *(NODE * size for size in sizes[:-1]), LEAF * sizes[-1]])
    if ends[-1] * 4 != path.stat().st_size or min(sizes) < 1:
        raise not_this(path, "trigram model")
    pieces = [content[start:end] for start, end in zip(ends[:-1], ends[1:])]
    probabilities, levels = pieces[0].view("<f4").astype(float), [piece.reshape(-1, NODE) for piece in pieces[2:-1]]
    levels.append(pieces[-1].reshape(-1, LEAF))
    ngrams: list[WordNgrams] = []
    for order in range(1, ORDER + 1):
        above, level = levels[order - 1], levels[order][:-1]  # without the sentinel
        first_child = (above[:, 1] >> 16 | above[:, 2] >> 25 << 16).astype(np.int64)
        children = np.diff(first_child[:-1], append=len(level))  # the sentinel of some levels says 0
        if first_child[0] != 0 or (children < 0).any():
            raise not_this(path, "trigram model")
        parents = np.repeat(np.arange(len(children)), children)
        index = level[:, 1] & 0xFFFF if order < ORDER else level[:, 0] >> 18 | (level[:, 1] >> 25 & 3) << 14
        p = probabilities[index]
        words = (level[:, 0] & 0x3FFFF).astype(np.int64)[:, None]
        if order > 1:
            words = np.concatenate([ngrams[-1].words[parents], words], axis=1)
            ngrams[-1].unseen[:] = np.maximum(1 - np.bincount(parents, p, len(children)), 0)
        ngrams.append(WordNgrams(words, p, parents, np.ones(len(level))))
    return ngrams


def not_this(path: Path, what: str) -> DataError:
    return DataError(
        f"not a {what} of SunPinyin",
        where=str(path),
        hint=f"Debian's package sunpinyin-data has {MODEL} and {DICTIONARY}",
    )
