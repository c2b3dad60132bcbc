"""Expected counts of character n-grams: of word n-grams, of words with frequencies, of texts.

An n-gram of characters is one number: that of its history times the size of the vocabulary, plus its last character.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import open_gram

from funrecipe.errors import DataError, UsageError

BEGIN_ID, END_ID, UNKNOWN_ID = 0, 1, 2
MISSING = -1  # a character outside the vocabulary, or none: no n-gram goes across it
Table = tuple[np.ndarray, np.ndarray]  # sorted numbers of n-grams, and a count of each


class Vocabulary:
    """Characters as numbers.

    Raises:
        UsageError: too many tokens for n-grams of ``order`` to fit into 64 bits.
    """

    def __init__(self, path: Path, order: int) -> None:
        tokens = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.split()]
        self.tokens = [*dict.fromkeys(["<s>", "</s>", "<unk>", *(t for t in tokens if t != "<blank>")])]
        self.index = {token: number for number, token in enumerate(self.tokens)}
        self.size = len(self.tokens)
        if self.size**order >= 2**63:
            raise UsageError(
                f"{order}-grams of {self.size} tokens do not fit into 64 bits", where="--order", hint="take a lower one"
            )

    def sentence(self, text: str) -> list[int]:
        characters = (c for c in unicodedata.normalize("NFKC", text).lower() if not c.isspace())
        return [BEGIN_ID, *(self.index.get(c, UNKNOWN_ID) for c in characters), END_ID]


class Spelling:
    """The characters (W, L) of words, MISSING behind their ends."""

    def __init__(self, words: list[list[int]], size: int) -> None:
        self.size, self.lengths = size, np.array([len(word) for word in words])
        self.characters = np.full((len(words), max(self.lengths)), MISSING)
        self.characters[np.arange(self.characters.shape[1]) < self.lengths[:, None]] = np.concatenate(words)

    def piece(self, start: int | np.ndarray, n: int) -> np.ndarray:
        """The n-gram (W,) from ``start`` on of each word; MISSING where there is none."""
        columns = np.broadcast_to(start, self.lengths.shape)[:, None] + np.arange(n)
        inside = (columns >= 0) & (columns < self.lengths[:, None])
        found = np.where(inside, np.take_along_axis(self.characters, np.where(inside, columns, 0), axis=1), MISSING)
        return np.where((found != MISSING).all(axis=1), found @ self.size ** np.arange(n)[::-1], MISSING)

    def head(self, n: int) -> np.ndarray:
        return self.piece(0, n)

    def tail(self, n: int) -> np.ndarray:
        return self.piece(self.lengths - n, n)


class Counts:
    """Counts of character n-grams, and of how often nothing known follows a history."""

    def __init__(self, vocabulary: Vocabulary, order: int) -> None:
        self.vocabulary, self.order = vocabulary, order
        self.parts: list[list[Table]] = [[] for _ in range(order + 1)]
        self.end_parts: list[list[Table]] = [[] for _ in range(order + 1)]
        self.add(1, np.arange(vocabulary.size), np.zeros(vocabulary.size))

    def add(self, n: int, numbers: np.ndarray, counts: np.ndarray, *, ends: bool = False) -> None:
        """``n``-grams; with ``ends``, histories of n characters that nothing known follows."""
        valid = numbers != MISSING
        (self.end_parts if ends else self.parts)[n].append(summed(numbers[valid], counts[valid]))

    def add_text(self, path: Path) -> None:
        """The sentences of a Kaldi ``text``."""
        found: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(self.order + 1)]
        for line in path.read_text("utf-8").splitlines():
            sentence = self.vocabulary.sentence(line.partition(" ")[2])
            for n in range(1, self.order + 1):
                found[n].update(tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1))
        for n in range(1, self.order + 1):
            if found[n]:
                spelling = Spelling([list(gram) for gram in found[n]], self.vocabulary.size)
                self.add(n, spelling.head(n), np.array([*found[n].values()], float))

    def add_words(self, first: Spelling, later: Spelling, counts: np.ndarray, unseen: np.ndarray) -> None:
        """What is inside words. ``unseen`` (W,): how much of what follows each is not known."""
        for n in range(1, self.order + 1):
            for start in range(later.characters.shape[1] - n + 1):
                self.add(n, later.piece(start, n), counts)
            if n < self.order:
                self.add(n, first.tail(n), counts * unseen, ends=True)

    def add_sequences(
        self, first: Spelling, later: Spelling, words: np.ndarray, counts: np.ndarray, unseen: np.ndarray
    ) -> None:
        """What begins in the first and ends in the last of ``words`` (G, 2 or 3)."""
        size, n_words = self.vocabulary.size, words.shape[1]
        for length in range(1, self.order - 1) if n_words == 3 else [0]:  # of the word between
            between = later.head(length)
            between[(later.lengths != length) | (later.characters[:, 0] == END_ID)] = MISSING
            rows = np.flatnonzero(between[words[:, 1]] != MISSING) if n_words == 3 else np.arange(len(words))
            for left in range(1, self.order - length):
                history = first.tail(left)[words[rows, 0]]
                if n_words == 3:
                    history = joined(history, between[words[rows, 1]], length, size)
                for right in range(1, self.order - left - length + 1):
                    numbers = joined(history, later.head(right)[words[rows, -1]], right, size)
                    n = left + length + right
                    self.add(n, numbers, counts[rows])
                    if n < self.order:
                        whole = (later.lengths == right) & (later.characters[:, 0] != END_ID)
                        ended = whole[words[rows, -1]]
                        self.add(n, numbers[ended], (counts * unseen)[rows[ended]], ends=True)

    def sums(self) -> tuple[list[Table], list[Table]]:
        """Everything added, by order: the n-grams, and the histories that nothing known follows."""
        self.parts, self.end_parts = ([[merged(parts)] for parts in table] for table in (self.parts, self.end_parts))
        return [parts[0] for parts in self.parts], [parts[0] for parts in self.end_parts]


def add_open_gram(counts: Counts, folder: Path, n_words: float) -> None:
    """The word trigrams of open-gram, as ``n_words`` running words. Punctuation is the end of a sentence."""
    words, ngrams = open_gram.read_words(folder / open_gram.DICTIONARY), open_gram.read_ngrams(folder / open_gram.MODEL)
    if max(int(level.words.max()) for level in ngrams) >= len(words):
        raise DataError(
            "the model has words that the dictionary lacks",
            where=str(folder),
            hint="take both files from the same package",
        )
    index, size = counts.vocabulary.index, counts.vocabulary.size
    spelled = [[index.get(c, MISSING) for c in word.lower()] or [MISSING] for word in words]
    is_mark = [word != "" and not any(c.isalnum() for c in word) for word in words]
    first = Spelling([[BEGIN_ID] if mark else ids for ids, mark in zip(spelled, is_mark)], size)
    later = Spelling([[END_ID] if mark else ids for ids, mark in zip(spelled, is_mark)], size)
    expected, single = n_words * ngrams[0].probabilities, ngrams[0].words[:, 0]
    frequencies, unseen = np.zeros(len(words)), np.zeros(len(words))
    frequencies[single], unseen[single] = expected, ngrams[0].unseen
    counts.add_words(first, later, frequencies, unseen)
    for level in ngrams[1:]:
        expected = expected[level.parents] * level.probabilities
        counts.add_sequences(first, later, level.words, expected, level.unseen)


def add_word_list(counts: Counts, path: Path, n_words: float) -> None:
    """``WORD FREQUENCY ...`` a line, the frequencies scaled to sum to ``n_words``. What follows a word is not known."""
    index, known = counts.vocabulary.index, {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            word, frequency = line.split()[0], float(line.split()[1])
        except (IndexError, ValueError):
            raise DataError(f"not a word and its frequency: {line!r}", where=f"{path}:{number}") from None
        if all(c in index for c in word):
            known[word] = frequency
    if not known:
        raise DataError("no word of the vocabulary's characters", where=str(path))
    frequencies = np.array([*known.values()])
    spelling = Spelling([[index[c] for c in word] for word in known], counts.vocabulary.size)
    counts.add_words(spelling, spelling, frequencies * n_words / frequencies.sum(), np.ones(len(frequencies)))


def joined(left: np.ndarray, right: np.ndarray, length: int, size: int) -> np.ndarray:
    """N-grams followed by n-grams of ``length`` characters."""
    return np.where((left != MISSING) & (right != MISSING), left * size**length + right, MISSING)


def summed(numbers: np.ndarray, counts: np.ndarray) -> Table:
    order = np.argsort(numbers, kind="stable")
    numbers, counts = numbers[order], counts[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=MISSING))
    return numbers[starts], np.add.reduceat(counts, starts) if len(starts) else counts


def merged(parts: list[Table]) -> Table:
    if len(parts) == 1:
        return parts[0]
    numbers = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in parts)])
    return summed(numbers, np.concatenate([np.zeros(0), *(counts for _, counts in parts)]))
