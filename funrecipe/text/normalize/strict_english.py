"""The English half of mixed text: contractions written out, numbers of wholly English sentences in English words."""

from __future__ import annotations

import re
from functools import lru_cache

from funrecipe.text.normalize.strict_numbers import DECIMAL, INTEGER

_WORD = re.compile("[A-Za-z][A-Za-z']+")
_FUNCTION_WORD = re.compile(
    r"\b(?:the|an|is|are|was|were|be|been|have|has|had|you|we|he|she|they|it|in|on|at|of|for|to|and|with|my|your|this|that|"
    r"there|from|by|about|not|but|or|as|will|can|do|does|did)\b",
    re.IGNORECASE,
)

_CONTRACTIONS: dict[str, str] = {
    "CAN'T": "CAN NOT", "WON'T": "WILL NOT", "SHAN'T": "SHALL NOT", "LET'S": "LET US", "I'M": "I AM",
    "O'CLOCK": "O CLOCK", "AIN'T": "AIN'T",
}  # fmt: skip
_ENDINGS = {"N'T": " NOT", "'RE": " ARE", "'LL": " WILL", "'VE": " HAVE"}
_PRONOUN = re.compile("I|YOU|S?HE|IT|WE|THEY|THAT|THIS|T?HERE|WH(?:O|AT|ERE|EN|Y)|HOW")
_WITH_APOSTROPHE = re.compile("[A-Z]+'[A-Z]+")


def _expand(match: re.Match[str]) -> str:
    word = match[0]
    if word in _CONTRACTIONS:
        return _CONTRACTIONS[word]
    for ending, full in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return word[: -len(ending)] + full
    stem, _, ending = word.rpartition("'")
    if _PRONOUN.fullmatch(stem) and ending in ("S", "D"):
        return f"{stem} IS" if ending == "S" else f"{stem} WOULD"
    return word


def expand_contractions(text: str) -> str:
    """``DON'T`` → DO NOT, ``IT'S`` → IT IS; a possessive (``JOHN'S``) stays. ``text`` is in upper case."""
    while (longer := _WITH_APOSTROPHE.sub(_expand, text)) != text:  # HE'D'VE takes two steps
        text = longer
    return text


def is_english(text: str) -> bool:
    """Whether a text without hanzi is an English sentence, not a code or a quantity with a Latin unit."""
    words = 1 if _FUNCTION_WORD.match(text) else 2  # "in 2024", but not "5 in"
    return len(_WORD.findall(text)) >= words and bool(_FUNCTION_WORD.search(text))


_ENGLISH = re.compile(
    rf"(?P<minus>(?<![0-9A-Za-z])-(?=[0-9]))|(?P<percent>{DECIMAL})%|"
    rf"(?P<sign>[$£€¥])(?P<money>{DECIMAL})(?: (?P<scale>million|billion|thousand|trillion))?|"
    rf"(?P<ordinal>{INTEGER})(?:st|nd|rd|th)(?![A-Za-z])|"
    r"(?<![0-9:])(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?![0-9:])|"
    rf"(?<![0-9.])(?P<year>1[1-9][0-9]{{2}}|20[0-9]{{2}})(?P<decade>s?)(?![0-9A-Za-z]|[.,][0-9])|(?P<code>0[0-9]+|[0-9]{{7,}})|"
    rf"(?P<number>{DECIMAL})"
)
_LONGEST_IN_WORDS = 15
_MONEY = {"$": "dollar", "£": "pound", "€": "euro", "¥": "yuan"}


@lru_cache(maxsize=4096)
def _in_words(number: str, to: str = "cardinal") -> str:
    from num2words import num2words  # its import costs a quarter of a second, and few texts need it

    whole, _, fraction = number.replace(",", "").partition(".")
    if len(whole) > _LONGEST_IN_WORDS:
        return f"{_spell(whole)} point {_spell(fraction)}" if fraction else _spell(whole)
    words = str(num2words(int(whole), to=to))
    return f"{words} point {_spell(fraction)}" if fraction else words


def _spell(digits: str) -> str:
    return " ".join(_in_words(digit) for digit in digits)


def _read_money(sign: str, amount: str, scale: str | None) -> str:
    name = _MONEY[sign]
    plural = name if name == "yuan" or amount == "1" and not scale else f"{name}s"
    whole, _, cents = amount.partition(".")
    if scale or len(cents) != 2 or name == "yuan":
        return f"{_in_words(amount)} {f'{scale} ' if scale else ''}{plural}"
    return f"{_in_words(whole)} {plural}" + (f" and {_in_words(str(int(cents)))} cents" if int(cents) else "")


def _read(m: re.Match[str]) -> str:
    if m["minus"]:
        words = "minus"
    elif m["sign"]:
        words = _read_money(m["sign"], m["money"], m["scale"])
    elif m["percent"]:
        words = f"{_in_words(m['percent'])} percent"
    elif m["ordinal"]:
        words = _in_words(m["ordinal"], "ordinal")
    elif m["hour"]:
        minute = int(m["minute"])
        words = _in_words(m["hour"]) + (f" {'oh ' if minute < 10 else ''}{_in_words(str(minute))}" if minute else "")
    elif m["year"]:
        words = _in_words(m["year"], "year")
        if m["decade"]:
            words = f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    elif m["code"]:
        words = _spell(m["code"])
    else:
        words = _in_words(m["number"])
    return f" {words} "


def read_english_numbers(text: str) -> str:
    """Numbers, money, percentages, ordinals, years and times of an English sentence in words."""
    return _ENGLISH.sub(_read, text)
