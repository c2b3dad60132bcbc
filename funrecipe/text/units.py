"""What a text is made of: characters, marks, and the spaces that only some scripts have between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

WORD_MARK = "\u2581"  # begins the piece that begins a word
SPACE = "<space>"  # a space, in ESPnet's character lists

# Scripts written without spaces between words: Han with its extensions, kana, bopomofo.
_UNSPACED = (
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
# A space that the reader of the text needs: between letters or digits of spaced scripts.
_BLANK_BETWEEN_WORDS = re.compile(rf"(?<=[^\s{_UNSPACED}])\s+(?=[^\s{_UNSPACED}])")
INNER_MARKS = frozenset("'’-")  # don't, well-known


def is_mark(character: str) -> bool:
    """Whether a character is punctuation, a symbol or a control character: not spoken."""
    return unicodedata.category(character)[0] in "PSCZ"


def without_outer_marks(word: str) -> tuple[int, int]:
    """Where ``word`` begins and ends without the marks around it; the same place if it has nothing else."""
    start, end = 0, len(word)
    while start < end and is_mark(word[start]):
        start += 1
    while end > start and is_mark(word[end - 1]):
        end -= 1
    return start, end


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script without spaces between words (Han, kana)."""
    return _IS_UNSPACED.match(character) is not None


def has_space_between_words(text: str) -> bool:
    """Whether dropping the spaces of ``text`` would glue words together."""
    return _BLANK_BETWEEN_WORDS.search(text) is not None


def space_token(tokens: Sequence[str]) -> str | None:
    """The token of a character list that stands for a space: ``<space>``, or ``▁`` where no longer piece begins so."""
    known = set(tokens)
    if SPACE in known:
        return SPACE
    return WORD_MARK if WORD_MARK in known and not has_word_pieces(tokens) else None


def has_word_pieces(tokens: Sequence[str]) -> bool:
    """Whether a vocabulary spells in pieces, where ``▁`` marks the beginning of a word."""
    pieces = sum(token.startswith(WORD_MARK) and len(token) > 1 for token in tokens)
    return pieces > 0 and not any(token.endswith("@@") for token in tokens)


def split_characters(text: str, space: str | None = None) -> list[str]:
    """NFKC, lower case, one token per character. Blanks between words of spaced scripts become ``space``."""
    text = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    if space is None:
        return [c for c in text if not c.isspace()]
    text = _BLANK_BETWEEN_WORDS.sub("\n", text)
    return [space if c == "\n" else c for c in text if c != " "]


def inner_marks(text: str) -> list[str]:
    """Marks inside words of spaced scripts, which are part of their spelling (the apostrophe of ``don't``)."""
    return [
        mark
        for before, mark, after in zip(text, text[1:], text[2:])
        if mark in INNER_MARKS and before.isalnum() and after.isalnum() and not is_unspaced(before + after)
    ]
