"""Chinese numerals: the pattern of a well-formed one, and its written form in digits."""

from __future__ import annotations

import re

DIGIT = "[零一二三四五六七八九两]"
_VALUES = {character: value for value, character in enumerate("零一二三四五六七八九")} | {
    "〇": 0, "洞": 0, "幺": 1, "两": 2, "柒": 7, "拐": 7, "捌": 8, "玖": 9,
}  # fmt: skip
_PLACES = {"十": 10, "百": 100, "千": 1000}
_GROUPS = {"兆": 10**12, "亿": 10**8, "万": 10**4}

_W = "[一二两三四五六七八九]"
_SHORT = f"{_W}(?![零一二三四五六七八九两十百千万亿兆点])"  # 一百五: the digit stands for the next lower place
_TENS = f"{_W}?十{_W}?"
_HUNDREDS = f"{_W}百(?:零{_W}|{_TENS}|{_SHORT})?"
_THOUSANDS = f"{_W}千(?:零{_TENS}|零{_W}|{_HUNDREDS}|{_SHORT})?"
_SECTION = f"(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|{_W})"
_WAN = f"(?:{_SECTION}万(?:零?{_THOUSANDS}|零?{_HUNDREDS}|零?{_TENS}|零{_W}|{_SHORT})?)"
_YI = f"(?:(?:{_WAN}|{_SECTION})亿(?:零?{_WAN}|零?{_THOUSANDS}|零?{_HUNDREDS}|零?{_TENS}|零{_W}|{_SHORT})?)"
_ZHAO = f"(?:{_SECTION}兆(?:零?(?:{_YI}|{_WAN}|{_SECTION}))?)"
CARDINAL = f"(?:(?:{_ZHAO}|{_YI}|{_WAN}|{_SECTION}|零)(?:点{DIGIT}+[万亿]?)?)"
CODE = "[零一二三四五六七八九两幺洞拐柒捌玖]{3,}"
APPROXIMATE = "(?:一二|[二两]三|三[四五]|四五|五六|六七|七八|八九)[十百千]?[万亿]?"


def write_code(text: str) -> str:
    """One digit per character: 幺二三零六 → 12306."""
    return "".join(str(_VALUES[character]) for character in text)


def _value(numeral: str) -> int:
    """The number that a well-formed numeral without a decimal point stands for."""
    for unit, size in _GROUPS.items():
        high, found, low = numeral.rpartition(unit)
        if found:
            return _value(high) * size + _low_value(low, size)
    for unit, size in reversed(_PLACES.items()):
        high, found, low = numeral.partition(unit)
        if found:
            return (_VALUES[high] if high else 1) * size + _low_value(low, size)
    return _VALUES[numeral.lstrip("零") or "零"]


def _low_value(low: str, size: int) -> int:
    if not low:
        return 0
    if len(low) == 1 and size > 10:
        return _VALUES[low] * (size // 10)  # 一百五, 两千三
    return _value(low.lstrip("零") or "零")


def write_cardinal(numeral: str) -> str:
    """A numeral in digits: 一万零三百 → 10300, 三百二十万五千 → 320万5000, 三点一四 → 3.14, 三十万 → 30万."""
    if "点" in numeral:
        integer, _, fraction = numeral.partition("点")
        unit = fraction[-1] if fraction[-1] in "万亿" else ""
        return f"{_value(integer)}.{write_code(fraction.removesuffix(unit))}{unit}"
    for unit in "兆亿":
        high, found, low = numeral.rpartition(unit)
        if found:
            rest = _low_value(low, _GROUPS[unit])
            if 0 < rest < 10:  # 1亿5 would read as 1.5亿
                return str(_value(numeral))
            written = f"{rest // 10**4}万" if rest >= 10**5 and not rest % 10**4 else str(rest or "")
            if "万" in low and len(low) > 1:
                written = write_cardinal(low.lstrip("零"))
            return f"{write_cardinal(high)}{unit}{written}"
    high, found, low = numeral.rpartition("万")
    if found:
        value, rest = _value(high), _low_value(low, 10**4)
        if value >= 100 or value >= 10 and not rest:
            return f"{value}万{rest or ''}"
    return str(_value(numeral))


def write_approximate(numeral: str) -> str:
    """Two neighbouring digits are a range: 三五百 → 300~500, 三四十万 → 30~40万."""
    place = _PLACES.get(numeral[2:3], 1)
    group = re.sub("[^万亿]", "", numeral)
    return f"{_VALUES[numeral[0]] * place}~{_VALUES[numeral[1]] * place}{group}"
