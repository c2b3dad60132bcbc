"""Written forms that mean the same: full and half width, compatibility characters, spaces, case, punctuation."""

from __future__ import annotations

import re
import unicodedata
from importlib import resources

_FORMS: dict[int, str] = (
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {0x2460 + i: f" {i + 1} " for i in range(20)}  # circled numbers
    | {0x2160 + i: str(i + 1) for i in range(12)}  # Roman numerals
    | str.maketrans(
        {"\u3000": " ", "〜": "~", "∼": "~", "⁄": "/", "㎡": "m²", "㎥": "m³", "№": "No", "﹪": "%", "…": " "}
        | dict.fromkeys("‑‐‒−﹣", "-")
        | dict.fromkeys("―─", "—")
        | dict.fromkeys("⩽≦", "≤")
        | dict.fromkeys("⩾≧", "≥")
        | dict.fromkeys("≒≃", "≈")
        | dict.fromkeys("✕☓", "×")
        | dict.fromkeys("º˚", "°")
        | dict.fromkeys("’‘ʼ′", "'")
        | {"￥": "¥", "℃": "°C", "℉": "°F", "µ": "μ"}
        | {"½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4"}
    )
)


def _read_simplified() -> dict[int, str]:
    lines = resources.files(__package__).joinpath("strict_traditional.txt").read_text(encoding="utf-8").splitlines()
    pairs = "".join(line for line in lines if not line.startswith("#"))
    return {ord(traditional): simplified for traditional, simplified in zip(pairs[::2], pairs[1::2])}


SIMPLIFIED = _read_simplified()
_EXPONENT = re.compile("(?<=[0-9])(?:[⁻⁰¹⁴-⁹][⁻⁰¹²³⁴-⁹]*|[²³][⁻⁰¹²³⁴-⁹]+)")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_ANY_NUMBER = re.compile("[0-9]")
_BESIDE_SIGN = re.compile(
    r"(?<=[0-9]) +(?=[-+*/=<>≤≥≠≈~:×÷±%‰°—–])|(?<=[-+*/=<>≤≥≠≈~:×÷±$¥€£₩—–]) +(?=[-$¥€£₩.0-9])"
    r"|(?<=[0-9]) (?=[.,·] [0-9])|(?<=[0-9] [.,·]) (?=[0-9])"
    r"| +(?=[/~*×÷=<>≤≥≠≈²³])|(?<=[/~*×÷=<>≤≥≠≈]) +|(?<=[%‰]) +(?=[-—–])|(?<=°[CF]) +(?=[-—–])|(?<=°) +(?=[CFcf]\b)"
    r"|(?<=[0-9]) (?=[xX] [0-9])|(?<=[0-9] [xX]) (?=[0-9])"
)
# Scripts written without spaces: hanzi with their extensions, kana, and their punctuation.
_UNSPACED = "、-】々〇ぁ-ヿ㐀-䶿一-鿿\U00020000-\U000323af"
_BESIDE_HANZI = re.compile(f"(?<=[{_UNSPACED}]) +| +(?=[{_UNSPACED}])")
_HANZI_OR_DIGIT = re.compile(f"[0-9{_UNSPACED}]")
_TWO_DIGITS = re.compile("[0-9][0-9]")
_BETWEEN_DIGITS = re.compile("(?<=[0-9]) (?=[0-9](?! ?/))")

_NOT_LETTER = re.compile(r"(?:[^\w']|_)+")
_LOOSE_APOSTROPHE = re.compile("(?<![A-Z])'|'(?![A-Z])")


def unify_forms(text: str) -> str:
    """Half width, compatibility characters decomposed except ² and ³, simplified characters, ASCII digits."""
    if not text.isascii():
        text = text.translate(_FORMS)
        text = _EXPONENT.sub(lambda m: f"^{unicodedata.normalize('NFKC', m[0])}".replace("−", "-"), text)
        if not unicodedata.is_normalized("NFKC", text):
            pieces = re.split("([²³])", text)
            text = "".join(piece if piece in ("²", "³") else unicodedata.normalize("NFKC", piece) for piece in pieces)
        text = text.translate(SIMPLIFIED)
        if _OTHER_DIGIT.search(text):
            text = _OTHER_DIGIT.sub(lambda m: str(int(m[0])), text)
    return text


def join_spaces(text: str) -> str:
    """Without spaces, except between Latin words and between numbers."""
    if " " not in text and text.isprintable():
        return text
    tokens = text.split()
    if len(tokens) < 2:
        return "".join(tokens)
    if all(len(token) == 1 for token in tokens) and _HANZI_OR_DIGIT.search(text):
        return "".join(tokens)
    text = " ".join(tokens)
    if _ANY_NUMBER.search(text):
        text = _BESIDE_SIGN.sub("", text)
        if not _TWO_DIGITS.search(text):  # 2 0 2 3 年: a recognizer that prints one digit a token
            text = _BETWEEN_DIGITS.sub("", text)
    return _BESIDE_HANZI.sub("", text)


def keep_letters(text: str) -> str:
    """Upper case, nothing but letters and single spaces between Latin words; apostrophes inside words stay."""
    text = text.upper()
    if not text.isascii() and not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    if "'" in text:
        text = _LOOSE_APOSTROPHE.sub(" ", text)
    text = _NOT_LETTER.sub(" ", text)
    return _BESIDE_HANZI.sub("", text).strip() if " " in text else text
