"""Numbers as the SpeechIO text normalizer reads them, mistakes included.

Source of the facts: ``utils/textnorm_zh.py`` of SpeechColab/Leaderboard at 678f55a (2025-03-29) and the copy that
FunASR shipped in 2023. Both read numbers by the same ten rules, one after the other over the whole text. Each rule
first collects all its matches and then replaces *the first occurrence of the matched string*, wherever that is: so
``2019和2个`` becomes ``二零一十九和二个``. Published error rates contain these mistakes; do not repair them here (the
``strict`` profile is the place for that).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

DIGITS = "零一二三四五六七八九"

# Power of ten of every unit, largest first: 亿 = 10^8, then each unit is 10^4 times the one before.
UNITS = [(4 * (i + 2), unit) for i, unit in enumerate("亿兆京垓秭穰沟涧正载")][::-1] + [
    (4, "万"),
    (3, "千"),
    (2, "百"),
    (1, "十"),
]

# 二 becomes 两 before any unit but 十, unless a digit or 十 stands before it.
_LIANG = re.compile(r"(?<![零一二三四五六七八九十])二(?=[百千万亿兆京垓秭穰沟涧正载])")


def read_digits(digits: str) -> str:
    """One character per digit; anything that is not a digit is left out (``+86 139`` → 八六一三九)."""
    return "".join(DIGITS[int(c)] for c in digits if c.isdecimal())


def _read_integer(digits: str) -> str:
    significant = digits.lstrip("0")
    if len(significant) <= 1:
        zero = "零" if significant and len(digits) > 1 else ""
        return zero + read_digits(significant)
    power, unit = next(pair for pair in UNITS if pair[0] < len(significant))
    return _read_integer(digits[:-power]) + unit + _read_integer(significant[-power:])


@lru_cache(maxsize=4096)
def read_cardinal(number: str) -> str:
    """Chinese reading of ``12``, ``0.5`` or ``007``; a run of zeros longer than one reads as nothing."""
    integer, _, fraction = number.partition(".")
    reading = read_digits(integer) if len(integer) <= 1 else _LIANG.sub("两", _read_integer(integer))
    if fraction:
        reading = (reading or "零") + "点" + read_digits(fraction)
    return reading[1:] if reading.startswith("一十") else reading


def _read_date(date: str) -> str:
    year, has_year, rest = date.rpartition("年")
    month, has_month, day = rest.rpartition("月")
    return (
        read_digits(year)
        + has_year
        + read_cardinal(month)
        + has_month
        + (read_cardinal(day[:-1]) + day[-1] if day else "")
    )


def _read_money(money: str) -> str:
    for number in _NUMBER.findall(money):
        money = money.replace(number, read_cardinal(number))
    return money


def _read_fraction(fraction: str) -> str:
    numerator, denominator = fraction.split("/")
    return read_cardinal(denominator) + "分之" + read_cardinal(numerator)


def _read_percentage(percentage: str) -> str:
    return "百分之" + read_cardinal(percentage[:-1])


_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MULTIPLE = "亿|千万|百万|万|千|百"
_CURRENCY = f"(?:(?:{_MULTIPLE})|(?:{_MULTIPLE}|)元|(?:{_MULTIPLE}|)块|角|毛|分)"
_MEASURE = (
    "匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口头脚板跳枝件贴针线管名位身堂课本页家户层"
    "丝毫厘分钱两斤铢石钧锱忽寸尺丈里寻常铺程撮勺合升斗盘碗碟叠桶笼盆盒杯斛锅簋篮罐瓶壶卮盏箩箱煲啖袋钵年月日季刻时周天秒旬纪岁世更夜春夏秋冬代伏辈"
    "丸泡粒幢堆根道面片块"
)

# In the order in which they run. The single group is what gets replaced.
RULES: list[tuple[re.Pattern[str], Callable[[str], str]]] = [
    (re.compile(r"\D+((?:(?:[089]\d|(?:19|20)\d{2})年)?(?:\d{1,2}月(?:\d{1,2}[日号])?)?)"), _read_date),
    (re.compile(rf"\D+(\d+(?:\.\d+)?[多余几]?{_CURRENCY}(?:\d{_CURRENCY}?)?)"), _read_money),
    (re.compile(r"\D((?:\+?86 ?)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8})\D"), read_digits),
    (re.compile(r"\D((?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7})\D"), read_digits),
    (re.compile(r"(\d+/\d+)"), _read_fraction),
    (re.compile(r"(\d+(?:\.\d+)?%)"), _read_percentage),
    (re.compile(rf"(\d+(?:\.\d+)?)[多余几]?(?:[{_MEASURE}]|[千微][克米])"), read_cardinal),
    (re.compile(r"(\d{4,32})"), read_digits),
    (re.compile(r"(\d+(?:\.\d+)?)"), read_cardinal),
]
_FIRST_RULE_WITH_PERCENT = 5  # before it the full-width percent sign becomes the ASCII one
_LETTERS_TWO_LETTERS = re.compile(r"[a-zA-Z]+二[a-zA-Z]+")
_ANY_DIGIT = re.compile(r"\d")


def rewrite_numbers(text: str) -> str:
    """All ten rules over ``text``. Leading ``^`` and trailing ``$`` are lost, as in the published tool."""
    text = f"^{text}$"  # many rules need a character before and after the number
    if _ANY_DIGIT.search(text):
        for i, (pattern, read) in enumerate(RULES):
            if i == _FIRST_RULE_WITH_PERCENT:
                text = text.replace("％", "%")
            for found in pattern.findall(text):
                text = text.replace(found, read(found), 1)
    if "二" in text:
        for found in _LETTERS_TWO_LETTERS.findall(text):  # P2P, O2O, B2C
            text = text.replace(found, found.replace("二", "2"), 1)
    return text.lstrip("^").rstrip("$")
