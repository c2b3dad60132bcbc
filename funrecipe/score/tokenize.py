"""What counts as one token: a word between spaces, a character, or both mixed.

========  ======================================================================
unit      tokens of "我下载了 ChatGPT app"
========  ======================================================================
word      我下载了 · ChatGPT · app                 (spaces separate; WER)
char      我 · 下 · 载 · 了 · C · h · a · t · …    (every code point; SpeechIO's CER)
mixed     我 · 下 · 载 · 了 · ChatGPT · app        (CJK per character, anything else
                                                   up to a space or CJK; MER)
========  ======================================================================

Blanks between CJK characters never matter in ``char`` and ``mixed``. A token sequence is a list of strings, or simply a
string where every token is one character: both are sequences of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from sys import intern

UNITS = ("mixed", "char", "word")

# Radicals to CJK ideographs, with symbols (but not the blank U+3000), kana and bopomofo; Hangul; compatibility forms;
# full-width punctuation (full-width letters and digits are words); the ideographic planes. Yi is left to words.
CJK = (
    "\u2e80-\u2fff\u3001-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uffee\U00020000-\U0003ffff"
)
_CJK_OR_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_WORD = re.compile(rf"[^{CJK}]")


def tokenize(text: str, unit: str) -> Sequence[str]:
    """The tokens of a text; ``unit`` is one of ``UNITS``."""
    if unit == "word":
        return _compact(text.split())
    # The usual case first, since it is fast: nothing but CJK and simple blanks.
    joined = text.replace(" ", "")
    if _WORD.search(joined) is None:
        return joined
    return "".join(text.split()) if unit == "char" else _compact(_CJK_OR_WORD.findall(text))


def with_blanks(tokens: Sequence[str]) -> str:
    """The tokens with blanks between them."""
    if isinstance(tokens, str):
        return tokens.replace("", " ")[1:-1]  # four times as fast
    return " ".join(tokens)


def _compact(tokens: list[str]) -> Sequence[str]:
    """The same tokens with less memory: as a string where each is one character, else each kind of token once."""
    joined = "".join(tokens)
    return joined if len(joined) == len(tokens) else [*map(intern, tokens)]
