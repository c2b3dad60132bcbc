"""Model tokens to words: pieces joined, special tokens dropped, spelled letters merged (``i t`` -> ``IT``).

Source of the rules: ``funasr.utils.postprocess_utils.sentence_postprocess`` (0.8.8), whose output this equals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from funrecipe.text.tokenizer import is_han_or_digit
from funrecipe.text.units import SPACE, WORD_MARK, is_unspaced

SPECIAL = frozenset({
    "<s>", "</s>", "<unk>", "<UNK>", "<OOV>", "<blank>", "<blk>", "<sos/eos>", "<sos>", "<eos>", "<pad>", "<eps>",
    "<gbg>", "<nobias>",
})  # fmt: skip
PIECE_MARK = "@@"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
HAN, LATIN, PIECE, OTHER = "han", "latin", "piece", "other"
Span = list[int]


@dataclass
class _Word:
    text: str
    span: Span
    blank_after: bool = False

    @property
    def is_letter(self) -> bool:
        return len(self.text) == 1 and self.text.isascii() and self.text.isalpha()


@dataclass(frozen=True)
class Sentence:
    """Words of a hypothesis.

    Attributes:
        words: what the recipe writes, joined by a space.
        text: human-readable, with spaces only after Latin words.
        timestamp_ms: ``[start, end]`` per word if the tokens had them, else None.
    """

    words: list[str]
    text: str
    timestamp_ms: list[Span] | None


def postprocess(
    tokens: Sequence[str], timestamp_ms: Sequence[Sequence[int]] | None = None, *, spells_spaces: bool | None = None
) -> Sentence:
    """Words of raw model tokens.

    Args:
        timestamp_ms: ``[start, end]`` per token, or per token that is not special.
        spells_spaces: whether the vocabulary marks where a word begins (``Tokenizer.spells_spaces``), so that letters
            are joined as they are; None: where one of ``tokens`` does.

    Raises:
        ValueError: the number of time stamps is neither of these.
    """
    kept = [token for token in tokens if token not in SPECIAL]
    spans: list[Span] = [[0, 0]] * len(kept)
    if timestamp_ms is not None:
        given = [list(span) for span in timestamp_ms]
        if len(given) not in (len(tokens), len(kept)):
            raise ValueError(f"{len(given)} time stamps for {len(tokens)} tokens")
        all_given = len(given) == len(tokens)
        spans = [span for token, span in zip(tokens, given) if token not in SPECIAL] if all_given else given
    if spells_spaces is None:
        spells_spaces = any(token == SPACE or token.startswith(WORD_MARK) for token in kept)
    words = _join_spelled(kept, spans) if spells_spaces else _merge_letters(_join_pieces(kept, spans))
    text = "".join(word.text + " " * word.blank_after for word in words).strip()
    return Sentence([w.text for w in words], text, None if timestamp_ms is None else [w.span for w in words])


def _join_spelled(tokens: Sequence[str], spans: Sequence[Span]) -> list[_Word]:
    """Words of a vocabulary with ``<space>`` or ``▁``; characters of scripts without spaces are words of their own."""
    words: list[_Word] = []
    begins = True
    for token, span in zip(_join_bytes(tokens), spans):
        begins = begins or token.startswith((SPACE, WORD_MARK))
        text = "" if token == SPACE else token.removeprefix(WORD_MARK)
        if not text:
            continue
        if not begins and not is_unspaced(text[0]) and not is_unspaced(words[-1].text[-1]):
            words[-1].text += text
            words[-1].span = [words[-1].span[0], span[1]]
        else:
            words.append(_Word(text, list(span)))
        begins = False
    for word, following in zip(words, words[1:]):
        word.blank_after = not (is_unspaced(word.text[-1]) or is_unspaced(following.text[0]))
    return words


def _join_bytes(tokens: Sequence[str]) -> list[str]:
    """SentencePiece spells a character without a piece in bytes, ``<0xE4>``; the first becomes the character."""
    joined = list(tokens)
    start = 0
    while start < len(joined):
        end = start
        while end < len(joined) and _BYTE.fullmatch(joined[end]):
            end += 1
        if end > start:
            spelled = bytes(int(token[3:5], 16) for token in joined[start:end])
            joined[start:end] = [spelled.decode("utf-8", "replace"), *[""] * (end - start - 1)]
        start = max(end, start + 1)
    return joined


def _join_pieces(tokens: Sequence[str], spans: Sequence[Span]) -> list[_Word]:
    """Words with their spans; a piece that no word follows is dropped."""
    words: list[_Word] = []
    pending, start = "", None  # pieces so far and where they began
    after_latin = False
    for token, kind, span in zip(tokens, _kinds(tokens), spans):
        if kind == PIECE:
            pending += token.replace(PIECE_MARK, "")
            start = span[0] if start is None else start
            after_latin = False
        elif kind == LATIN:
            words.append(_Word(pending + token, [span[0] if start is None else start, span[1]], blank_after=True))
            pending, start = "", None
            after_latin = True
        elif kind == HAN:
            if after_latin and words[-1].blank_after:
                words[-1].blank_after = False
            elif after_latin:
                words.pop()  # as FunASR does: of "hello ， 世" the comma is lost
            words.append(_Word(token.replace(" ", ""), span))
            after_latin = False
        else:
            words.append(_Word(token, span))
    return words


def _kinds(tokens: Sequence[str]) -> list[str]:
    """The kind of every token: of whole tokens if all are of one kind, else by their characters."""
    bare = [token.replace(" ", "") for token in tokens]
    if all("\u4e00" <= token <= "\u9fff" or "0" <= token <= "9" or token == "@" for token in bare):
        return [HAN] * len(tokens)
    if all(token == "'" or (token.isalpha() and not "\u4e00" <= token <= "\u9fff") for token in bare):
        return [LATIN] * len(tokens)
    return [_kind_of(token) for token in tokens]


def _kind_of(token: str) -> str:
    if token and all(is_han_or_digit(c) or c == "@" for c in token):
        return HAN
    if PIECE_MARK in token:
        return PIECE
    if token and all((c.isalpha() and not is_han_or_digit(c)) or c == "'" for c in token):
        return LATIN
    return OTHER


def _merge_letters(words: Sequence[_Word]) -> list[_Word]:
    """Runs of two or more single ASCII letters become one upper-case word."""
    merged: list[_Word] = []
    run: list[_Word] = []
    for word in [*words, None]:
        continues = word is not None and word.is_letter and (not run or run[-1].blank_after)
        if run and not continues:
            merged.append(_spelled(run))
            run = []
        if word is not None:
            if word.is_letter:
                run.append(word)
            else:
                merged.append(word)
    return merged


def _spelled(run: Sequence[_Word]) -> _Word:
    if len(run) == 1:
        return run[0]
    text = "".join(word.text for word in run).upper()
    return _Word(text, [run[0].span[0], run[-1].span[1]], run[-1].blank_after)
