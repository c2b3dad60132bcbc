"""The training data of models of text: a language model's sentences, a punctuation model's words and marks.

For the latter, ``text`` holds texts with their marks (``ID 今天，好吗？``). Or, as FunASR's trainer takes it, ``text``
holds words with spaces between them and ``punc`` as many marks (``_``: none); a last word ``vad:N`` says that a
stream's first N words come from earlier calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funrecipe.data.kaldi_dir import read_texts
from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.punctuation.render import COMMA, NO_MARK, PERIOD, mark_names
from funrecipe.punctuation.words import splitter_of
from funrecipe.score.punctuation import MARKS, cut_at_marks
from funrecipe.text.units import without_outer_marks
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.folders import list_in
from funrecipe.train.data.identity import set_fingerprint
from funrecipe.train.data.small import Inspection

INSTEAD = {"！": PERIOD, "；": COMMA, "、": COMMA}  # for marks that a model does not have
KNOWN_WORDS = "vad:"


def inspect_text(data_dir: Path, tokenize: Callable[[str], tuple[int, ...]], *, max_tokens: int) -> Inspection:
    """The usable sentences of ``data_dir/text``, ids in byte order.

    Raises:
        DataError: no such file, or lines that cannot be read.
    """
    texts = read_texts(list_in(data_dir, "text", "one line per sentence: ID SENTENCE"))
    found = Inspection([], total=len(texts))
    found.fingerprint = set_fingerprint((key, text, "") for key, text in texts.items())
    for key in sorted(texts):
        add_text(found, key, tokenize(texts[key]), max_tokens)
    return found


def add_text(found: Inspection, key: str, ids: tuple[int, ...], max_tokens: int, **more: Any) -> None:
    """Put a text of these token ids into ``found.items``, with ``more`` of the item, or into ``found.dropped``."""
    if not ids:
        found.drop("empty text", key)
    elif len(ids) >= max_tokens:
        found.drop(f"text not shorter than {max_tokens} tokens", key)
    else:
        found.items.append(TrainItem(key, "", ids, 0.0, kind="text", **more))


class MarkedTextReader:
    """Words and marks of texts, as numbers of one model.

    Attributes:
        unknown: words that became ``<unk>``.
        num_tokens: words of all texts.
        unmarked: marks that the model neither has nor replaces with another.

    Raises:
        DataError: ``punc_list`` has no ``_``.
    """

    glued = 0  # no text of this kind loses its spaces
    num_tokens = 0

    def __init__(self, folder: ModelFolder) -> None:
        self.split = splitter_of(folder)
        self.word_ids = {word: i for i, word in enumerate(folder.tokens)}
        self.unknown_id = self.word_ids.get("<unk>", len(folder.tokens) - 1)
        self.mark_ids = {mark: i for i, mark in enumerate(mark_names(folder.config["punc_list"]))}
        self.unknown: Counter[str] = Counter()
        self.unmarked: Counter[str] = Counter()
        if NO_MARK not in self.mark_ids:
            raise DataError(f"punc_list has no {NO_MARK}", where=str(folder.path))

    def read(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the words of ``text`` and of their marks. Quotes, brackets and the like are left out."""
        words: list[str] = []
        marks: list[str] = []
        for part, mark in cut_at_marks(text):
            found = [word for word in map(self.spoken, self.split(part)) if word]
            words += found
            marks += [NO_MARK] * len(found)
            if mark and marks:
                marks[-1] = mark
        return self.encode(words, marks)

    def spoken(self, word: str) -> str:
        """``word`` without marks around it, unless the model knows it with them."""
        if word in self.word_ids:
            return word
        return word[slice(*without_outer_marks(word))]

    def encode(self, words: list[str], marks: list[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(map(self.word_id, words)), tuple(map(self.mark_id, marks))

    def word_id(self, word: str) -> int:
        """The number of a word, as it is or in lower case."""
        found = self.word_ids.get(word, self.word_ids.get(word.lower()))
        self.num_tokens += 1
        self.unknown.update([word.lower()] if found is None else ())
        return self.unknown_id if found is None else found

    def mark_id(self, mark: str) -> int:
        """The number of a mark, or of what stands for it."""
        name = MARKS.get(mark, mark)
        for known in (name, INSTEAD.get(name)):
            if known in self.mark_ids:
                return self.mark_ids[known]
        self.unmarked.update([mark])
        return self.mark_ids[NO_MARK]


def inspect_marked_text(data_dir: Path, reader: MarkedTextReader, *, max_tokens: int) -> Inspection:
    """The usable texts of ``data_dir``, ids in byte order.

    Raises:
        DataError: no file ``text``, or lines that cannot be read.
    """
    texts = read_texts(list_in(data_dir, "text", "one line per text: ID TEXT, with its marks"))
    listed = read_texts(data_dir / "punc") if (data_dir / "punc").exists() else None
    found = Inspection([], total=len(texts))
    found.fingerprint = set_fingerprint((key, text, (listed or {}).get(key, "")) for key, text in texts.items())
    for key in sorted(texts):
        words, known = texts[key].split(), -1
        if words and words[-1].startswith(KNOWN_WORDS):
            known = known_words(words.pop(), f"{data_dir / 'text'}: {key}")
        if listed is None:
            ids, marks = reader.read(" ".join(words))
        elif len(words) != len(listed.get(key, "").split()):
            found.drop("not as many marks in 'punc' as words in 'text'", key)
            continue
        else:
            ids, marks = reader.encode(words, listed[key].split())
        add_text(found, key, ids, max_tokens, labels=marks, known=known)
    return found


def known_words(word: str, where: str) -> int:
    """``vad:12`` -> 12; ``vad:`` -> 0. Raises DataError."""
    number = word.removeprefix(KNOWN_WORDS) or "0"
    if not number.lstrip("-").isdecimal():
        raise DataError(f"'{word}' is not '{KNOWN_WORDS}' and a number of words", where=where)
    return max(0, int(number))
