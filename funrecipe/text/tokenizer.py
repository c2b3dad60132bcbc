"""Text to token ids and back, with FunASR's ``seg_dict`` for words that a vocabulary spells in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from funrecipe.errors import DataError
from funrecipe.text.units import INNER_MARKS, WORD_MARK, has_word_pieces, is_mark, space_token, split_characters

UNKNOWN = "<unk>"
WRITTEN_UNKNOWN = re.compile(re.escape(UNKNOWN), re.IGNORECASE)  # in texts; Kaldi has <UNK>


class Tokenizer:
    """A vocabulary with its spelling rules.

    A word is looked up in ``seg_dict`` (lower case), then as a token (as it is, then in lower case); else it is
    spelled character by character, or stays whole where the vocabulary spells words by ``seg_dict`` only. What the
    vocabulary lacks gets the id of ``<unk>``.

    Args:
        tokens: id -> token.
        seg_dict: lower-case word -> its pieces (``hello`` -> ``he@@ llo``).
    """

    def __init__(self, tokens: Sequence[str], seg_dict: Mapping[str, Sequence[str]] | None = None) -> None:
        self.tokens = tuple(tokens)
        self.seg_dict = dict(seg_dict or {})
        self.ids = {token: i for i, token in reversed(list(enumerate(tokens)))}  # of equal tokens the first counts
        self.unknown_id = self.ids.get(UNKNOWN, len(self.tokens) - 1)
        self.space = space_token(self.tokens)
        self.has_word_pieces = has_word_pieces(self.tokens)

    @property
    def spells_spaces(self) -> bool:
        """Whether tokens mark where a word begins (``<space>``, ``▁``), so that letters between them are one word."""
        return self.space is not None or self.has_word_pieces

    def tokenize(self, text: str) -> list[str]:
        """Tokens of a text; words are separated by spaces, Chinese needs none. May hold tokens that have no id."""
        if self.space is not None and not self.seg_dict:
            return [self._known_case(character) for character in split_characters(text, self.space)]
        if self.has_word_pieces:
            return [token for word in text.split() for token in self._longest_pieces(WORD_MARK + word)]
        return [token for word in text.split() for token in self._spell(word)]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; ``<unk>`` for what the vocabulary lacks."""
        return self.ids_of(self.tokenize(text))

    def missing(self, text: str) -> list[str]:
        """The tokens of ``text`` that the vocabulary lacks, in order."""
        return [token for token in self.tokenize(text) if token not in self.ids]

    def ids_of(self, tokens: Iterable[str]) -> list[int]:
        return [self.ids.get(token, self.unknown_id) for token in tokens]

    def tokens_of(self, ids: Iterable[int]) -> list[str]:
        return [self.tokens[i] for i in ids]

    def _spell(self, word: str) -> Sequence[str]:
        lower = word.lower()
        if lower in self.seg_dict:
            return self.seg_dict[lower]
        for form in (word, lower):
            if form in self.ids:
                return [form]
        if self.seg_dict and not all(is_han_or_digit(character) for character in word):
            has_han = any("\u4e00" <= character <= "\u9fff" for character in word)
            return self._spell_mixed(word) if has_han else [lower]
        return [c if c in self.ids else c.lower() for c in word]

    def _known_case(self, character: str) -> str:
        upper = character.upper()
        return upper if character not in self.ids and upper in self.ids else character

    def _longest_pieces(self, word: str) -> list[str]:
        """The longest piece at each place; a single character where none fits."""
        pieces = []
        while word:
            ends = range(len(word), 0, -1)
            end = next((end for end in ends if word[:end] in self.ids or word[:end].lower() in self.ids), 1)
            pieces.append(word[:end] if word[:end] in self.ids else word[:end].lower())
            word = word[end:]
        return pieces if pieces[:1] != [WORD_MARK] or WORD_MARK in self.ids else pieces[1:]

    def _spell_mixed(self, word: str) -> list[str]:
        """A word of Chinese and other letters without a space between: spell the parts."""
        parts: list[str] = []
        for character in word:
            if parts and _is_in_word(character) and _is_in_word(parts[-1][-1]):
                parts[-1] += character
            else:
                parts.append(character)
        return [token for part in parts for token in (self._spell(part) if part != word else [part.lower()])]


def _is_in_word(character: str) -> bool:
    """Whether a character is part of a word of letters."""
    return not is_han_or_digit(character) and (not is_mark(character) or character in INNER_MARKS)


def is_han_or_digit(character: str) -> bool:
    """Whether FunASR counts a character as Chinese: U+4E00 to U+9FFF, and ASCII digits."""
    return "\u4e00" <= character <= "\u9fff" or "0" <= character <= "9"


def read_seg_dict(path: Path | str) -> dict[str, list[str]]:
    """``word piece1 piece2 ...`` per line; blank lines are skipped, the last line of a word counts.

    Raises:
        DataError: not readable, not UTF-8, or a word without pieces.
    """
    entries: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                word, *pieces = line.split() or [""]
                if word and not pieces:
                    raise DataError(f"'{word}' has no pieces", where=f"{path}:{number}")
                if word:
                    entries[word] = pieces
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the spelling dictionary: {error}", where=str(path)) from None
    return entries
