"""Written forms that mean the same: full and half width, compatibility characters, blanks, case, punctuation."""

from __future__ import annotations

import re
import unicodedata

_FORMS: dict[int, str] = (
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {0x2460 + i: f" {i + 1} " for i in range(20)}  # circled numbers
    | {0x2160 + i: str(i + 1) for i in range(12)}  # Roman numerals
    | str.maketrans(
        {"\u3000": " ", "￥": "¥", "〜": "~", "∼": "~", "‑": "-", "‐": "-", "−": "-", "﹣": "-", "⁄": "/", "㎡": "m²", "㎥": "m³"}
        | {"℃": "°C", "℉": "°F", "º": "°", "˚": "°", "µ": "μ", "’": "'", "‘": "'", "ʼ": "'", "′": "'", "✕": "×", "☓": "×"}
        | {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "…": " ", "№": "No", "﹪": "%", "⩽": "≤", "⩾": "≥"}
        | {"²": "²", "³": "³"}
    )
)  # type: ignore[operator]
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_THOUSANDS_COMMA = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")

_ANY_NUMBER = re.compile("[0-9]")
_BESIDE_SIGN = re.compile(
    r"(?<=[0-9]) +(?=[-+*/=<>≤≥≠≈~:×÷±%‰°—–])|(?<=[-+*/=<>≤≥≠≈~:×÷±$¥€£₩—–]) +(?=[-$¥€£₩.0-9])|(?<=[0-9]) (?=\. [0-9])"
    r"|(?<=[0-9]\.) (?=[0-9])(?<=[0-9] \. )"
)
_WIDE = "一-鿿〇、-】"
_BESIDE_HANZI = re.compile(f"(?<=[{_WIDE}]) +| +(?=[{_WIDE}])")
_SINGLE = re.compile(r"[^A-Za-z]|[A-Za-z]+")

_NOT_LETTER = re.compile(r"[^\w']+|_+")
_LOOSE_APOSTROPHE = re.compile("(?<![A-Z])'|'(?![A-Z])")


def unify_forms(text: str) -> str:
    """Half width, compatibility characters decomposed but for ² and ³, ASCII digits, no thousands commas."""
    if not text.isascii():
        text = text.translate(_FORMS)
        if not unicodedata.is_normalized("NFKC", text):
            pieces = re.split("([²³])", text)
            text = "".join(piece if piece in ("²", "³") else unicodedata.normalize("NFKC", piece) for piece in pieces)
        if _OTHER_DIGIT.search(text):
            text = _OTHER_DIGIT.sub(lambda m: str(int(m[0])), text)
    if "," in text:
        text = _THOUSANDS_COMMA.sub(lambda m: m[0].replace(",", ""), text)
    return text


def join_spaces(text: str) -> str:
    """Blanks out, except between Latin words and between numbers: ``2 0 2 3 年`` is ``2023年``."""
    tokens = text.split()
    if len(tokens) < 2:
        return "".join(tokens)
    if all(_SINGLE.fullmatch(token) for token in tokens) and not all(token.isascii() and token.isalpha() for token in tokens):
        text = _join_spaced_out(tokens)
    else:
        text = " ".join(tokens)
    if _ANY_NUMBER.search(text):
        text = _BESIDE_SIGN.sub("", text)
    return _BESIDE_HANZI.sub("", text)


def _join_spaced_out(tokens: list[str]) -> str:
    """Tokens as a recognizer prints them: one hanzi, one digit, one sign or one Latin word each."""
    english = sum(len(token) > 1 for token in tokens)
    if english and all(token.isascii() for token in tokens):
        return " ".join(tokens)  # an English sentence with one-digit numbers
    joined = tokens[0]
    for left, right in zip(tokens, tokens[1:]):
        words = english and left[-1].isalpha() and right[0].isalpha() and left.isascii() and right.isascii()
        joined += f" {right}" if words else right
    return joined


def keep_letters(text: str) -> str:
    """Upper case, nothing but letters and single blanks between Latin words; apostrophes inside words stay."""
    text = text.upper()
    if not text.isascii() and not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    text = _NOT_LETTER.sub(" ", text)
    if "'" in text:
        text = _LOOSE_APOSTROPHE.sub("", text)
    return _BESIDE_HANZI.sub("", text).strip() if " " in text else text
