"""Readings of numbers in correct Mandarin, and the decision between a quantity and an identifier."""

from __future__ import annotations

import re
from functools import lru_cache

DIGITS = "零一二三四五六七八九"
# Commas that group thousands belong to the number; in 1,2,300 and 2019,2020 they separate numbers.
THOUSANDS = "(?<![0-9.])(?<![0-9],)[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])"
INTEGER = f"(?>{THOUSANDS}|[0-9]+)"
DECIMAL = rf"{INTEGER}(?:\.[0-9]+)?"
NUMBER = rf"(?:{DECIMAL}|(?<![0-9A-Za-z])\.[0-9]+)"
# After a number of plain digits: they are not the first digits of a longer one (5-1 in 5-1,000).
COMPLETE = "(?!,[0-9]{3}(?![0-9]))"
_TO_CHINESE = str.maketrans("0123456789", DIGITS)
_LONGEST_QUANTITY = 16
_DATE = re.compile("(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")


def read_digits(text: str) -> str:
    """One character per digit (``1080`` → 一零八零); everything else stays."""
    return text.translate(_TO_CHINESE)


def _read_below_10000(value: int, at_head: bool) -> str:
    reading = ""
    for power, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, power)
        if digit:
            reading += DIGITS[digit] + unit
        elif reading and value and not reading.endswith("零"):
            reading += "零"
    if at_head and reading.startswith("一十"):
        return reading[1:]
    return reading


def _read_positive(value: int, at_head: bool = True) -> str:
    for power, unit in ((10**8, "亿"), (10**4, "万")):
        if value >= power:
            high, low = divmod(value, power)
            reading = ("两" if high == 2 else _read_positive(high)) + unit
            if low:
                # 零 means that the next lower place is empty; after it 十万 has no 一, but 一十 has.
                reading += ("零" if low < power // 10 else "") + _read_positive(low, at_head=low >= 10**4)
            return reading
    reading = _read_below_10000(value, at_head)
    return "两" + reading[1:] if at_head and reading[:2] in ("二百", "二千") else reading


@lru_cache(maxsize=8192)
def read_cardinal(number: str) -> str:
    """``10,500`` → 一万零五百, ``3.14`` → 三点一四, ``.5`` → 零点五; longer than 16 digits: digit by digit."""
    integer, point, fraction = number.replace(",", "").partition(".")
    integer = integer.lstrip("0")
    if len(integer) > _LONGEST_QUANTITY:
        reading = read_digits(integer)
    else:
        reading = _read_positive(int(integer)) if integer else "零"
    return f"{reading}点{read_digits(fraction)}" if point and fraction else reading


def read_counted(number: str) -> str:
    """A number in front of a measure word: 2 is 两."""
    return "两" if number == "2" else read_cardinal(number)


def looks_like_identifier(digits: str) -> bool:
    """Whether bare digits, without a unit next to them, are a code rather than a quantity.

    People who write a quantity out in full mostly write a round one; a code looks random. Codes: a leading zero, a
    year from 1901 to 2049, a date (20230506), or at least three different digits other than 0, not ending in zeros.
    """
    if digits.startswith("0") and len(digits) > 1:
        return True
    if len(digits) < 4 or len(digits) <= 6 and digits.endswith("00") or digits.endswith("000"):
        return False
    if len(digits) == 4 and "1900" < digits < "2050" or _DATE.fullmatch(digits):
        return True
    return len(digits) > _LONGEST_QUANTITY or len(set(digits) - {"0"}) >= 3


def read_bare(digits: str) -> str:
    """Digits without any context that shows what they are."""
    return read_digits(digits) if looks_like_identifier(digits) else read_cardinal(digits)
