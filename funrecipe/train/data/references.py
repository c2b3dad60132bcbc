"""Reference text -> token ids, cut the way the model's own references are; and what did not fit."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.text.rich import unspaced
from funrecipe.text.tokenizer import UNKNOWN


def is_mark(character: str) -> bool:
    """Punctuation, symbol or control character: nothing that is spoken."""
    return unicodedata.category(character)[0] in "PSCZ"


def split_characters(text: str) -> list[str]:
    """NFKC, lower case, one token per character, blanks dropped."""
    return [c for c in unicodedata.normalize("NFKC", text).lower() if not c.isspace()]


def splitter_of(folder: ModelFolder) -> Callable[[str], list[str]]:
    """How this model's references are cut: sentence pieces, ``seg_dict``, or characters."""
    if folder.bpe_model is not None:
        pieces = folder.tokenizer
        return lambda text: pieces.tokenize(unspaced(text))
    if folder.seg_dict is not None or any(token.endswith("@@") for token in folder.tokens):
        tokenizer = folder.tokenizer
        return lambda text: tokenizer.tokenize(unicodedata.normalize("NFKC", text))
    return split_characters


@dataclass
class ReferenceTokenizer:
    """Callable ``text -> ids``.

    Marks that the vocabulary does not have are dropped; other unknown tokens become ``<unk>``. Both are counted, so
    that a run can list them.

    Args:
        tokens: the vocabulary, in the order of ids.
        split: text -> tokens, see :func:`splitter_of`.
    """

    tokens: Sequence[str]
    split: Callable[[str], list[str]] = split_characters
    unknown: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        if UNKNOWN not in self.ids:
            raise DataError(
                f"the token list has no {UNKNOWN}",
                hint="out-of-vocabulary tokens need an id; it is the last token in FunASR's lists",
            )

    def __call__(self, text: str) -> tuple[int, ...]:
        ids = []
        for token in self.split(text):
            if token in self.ids:
                ids.append(self.ids[token])
            elif all(is_mark(c) for c in token):
                self.dropped[token] += 1
            else:
                self.unknown[token] += 1
                ids.append(self.ids[UNKNOWN])
        return tuple(ids)
