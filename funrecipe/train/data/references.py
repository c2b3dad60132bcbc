"""Reference text -> token ids, tokenized as the model's own references are; and what did not fit."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.text.rich import unspaced
from funrecipe.text.tokenizer import UNKNOWN, WRITTEN_UNKNOWN, Tokenizer
from funrecipe.text.units import (
    has_space_between_words,
    has_word_pieces,
    is_mark,
    space_token,
    split_characters,
    without_outer_marks,
)

Split = Callable[[str], list[str]]


def splitter_of(folder: ModelFolder) -> Split | None:
    """How this model's references are cut: by sentence pieces or ``seg_dict``; None: by characters.

    Raises:
        UsageError: the package sentencepiece is not installed.
        DataError: the vocabulary holds word pieces and the folder has no SentencePiece model to cut texts with.
    """
    tokenizer = folder.tokenizer
    if folder.bpe_model is not None:
        return lambda text: tokenizer.tokenize(unspaced(text))
    if folder.seg_dict is not None or any(token.endswith("@@") for token in folder.tokens):
        return lambda text: [
            token
            for word in unicodedata.normalize("NFKC", text).split()
            for part in _detach_marks(word, tokenizer)
            for token in tokenizer.tokenize(part)
        ]
    if has_word_pieces(folder.tokens):
        raise DataError(
            "the token list holds word pieces (▁...), but there is no SentencePiece model to cut texts with",
            where=str(folder.path),
            hint="add the SentencePiece model that the list was made with, as bpe.model",
        )
    return None


def _detach_marks(word: str, tokenizer: Tokenizer) -> list[str]:
    """``(hello,`` → ``( hello ,``: split off marks at the ends of a word, unless the vocabulary has it with them."""
    if word in tokenizer.ids or word.lower() in tokenizer.ids or word.lower() in tokenizer.seg_dict:
        return [word]
    start, end = without_outer_marks(word)
    return [*word[:start], *([word[start:end]] if end > start else []), *word[end:]]


@dataclass
class ReferenceTokenizer:
    """Callable ``text -> ids``.

    Marks that the vocabulary does not have are dropped; other unknown tokens become ``<unk>``. Both are counted, so
    that a run can list them. ``<unk>`` in a text is that token, not its letters.

    Args:
        tokens: the vocabulary, in the order of ids.
        split: text -> tokens, see :func:`splitter_of`; None: by the characters of ``tokens``.

    Attributes:
        unknown: what became ``<unk>``: characters, or words of a vocabulary that spells words by ``seg_dict``.
        num_tokens: of all texts, known or not.
        glued: texts with spaces between words that the vocabulary cannot spell.
    """

    tokens: Sequence[str]
    split: Split | None = None
    unknown: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    glued: int = 0
    num_tokens: int = 0

    def __post_init__(self) -> None:
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.space = space_token(self.tokens)  # None: spaces between characters are lost
        if UNKNOWN not in self.ids:
            raise DataError(
                f"the token list has no {UNKNOWN}",
                hint="add it for out-of-vocabulary tokens, as the last token (as in FunASR's lists)",
            )

    def __call__(self, text: str) -> tuple[int, ...]:
        first, *others = map(self._ids, WRITTEN_UNKNOWN.split(text))
        ids = [*first, *(i for part in others for i in (self.ids[UNKNOWN], *part))]
        self.num_tokens += len(ids)
        return tuple(ids)

    def _ids(self, text: str) -> list[int]:
        """The ids of a text without ``<unk>``."""
        ids = []
        if self.split is None and self.space is None and has_space_between_words(text):
            self.glued += 1
        for token in self.split(text) if self.split else split_characters(text, self.space):
            if (known := self.ids.get(token, self.ids.get(token.upper()))) is not None:
                ids.append(known)
            elif all(is_mark(c) for c in token):
                self.dropped[token] += 1
            else:
                self.unknown[token] += 1
                ids.append(self.ids[UNKNOWN])
        return ids
