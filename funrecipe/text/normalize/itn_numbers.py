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
_NO_NUMERAL = "(?![零一二三四五六七八九两十百万亿兆点]|千(?![克米瓦赫]))"  # 千克 is a unit
_SHORT = f"[一二三四五六七八九]{_NO_NUMERAL}"  # 一百五: the next lower place. 两 never: 一百两 is a weight
_TENS = f"{_W}?十{_W}?"
_HUNDREDS = f"{_W}百(?:零{_W}|{_TENS}|{_SHORT})?"
_THOUSANDS = f"{_W}千(?:零{_TENS}|零{_W}|{_HUNDREDS}|{_SHORT})?"
_SECTION = f"(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|{_W})"
_WAN = f"(?:{_SECTION}万(?:零?{_THOUSANDS}|零?{_HUNDREDS}|零?{_TENS}|零{_W}|{_SHORT})?)"
_YI = f"(?:(?:{_WAN}|{_SECTION})亿(?:零?{_WAN}|零?{_THOUSANDS}|零?{_HUNDREDS}|零?{_TENS}|零{_W}|{_SHORT})?)"
_ZHAO = f"(?:{_SECTION}兆(?:零?(?:{_YI}|{_WAN}|{_SECTION}))?)"
CARDINAL = f"(?:(?:{_ZHAO}|{_YI}|{_WAN}|{_SECTION}|零)(?:点{DIGIT}+[万亿]?)?)"
CODE = "[零一二三四五六七八九两幺洞拐柒捌玖]{3,}"

# Two neighboring digits in one place: 三四十万, and after higher places 十七八, 一百二三十, 一万六七.
_PAIR = "(?:一[二两]|[二两]三|三[四五]|四五|五六|六七|七八|八九)"
_NO_MORE = f"(?![零一二三四五六七八九两十百万亿]|点{DIGIT}|千(?![克米瓦赫]))"
_HIGHER = f"(?:{_SECTION}亿)?(?:{_SECTION}万零?)?"
PREFIXED = (
    f"(?:{_HIGHER}(?:(?:{_W}千零?)?(?:{_W}百)?{_W}?十{_PAIR}|(?:{_W}千)?{_W}百(?:{_PAIR}十?|零{_PAIR})|"
    f"{_W}千(?:{_PAIR}百?|零{_PAIR}十?))[万亿]?|{_SECTION}(?:万零?{_PAIR}[十百千]?|亿零?{_PAIR}[十百千]?万?)){_NO_MORE}"
)
APPROXIMATE = f"(?:{PREFIXED}|{_PAIR}[十百千]?[万亿]?{_NO_MORE})"

# A lone digit before one of these counts it: 三千一个月 is 3000 a month, 三百一顿 300 a meal.
COUNTER = (
    "(?:[个位名只件张本册辆台架艘条根支枚颗粒把套双副顿趟遍场次回天年月周日晚夜宿口户间栋座层楼平亩斤包袋盒瓶罐杯碗盘桶箱筐盆锅壶"
    "份节课集章篇页首桌席批组队排门项种桩笔针剂片头匹群串朵棵束盏幅级届期轮圈步家股车捆吨]|小时|分钟|星期|季度)"
)
_ONE_WORD = "一[起样直定共切些旦般边下会半向律致同再路时生心道旁概贯]"  # no number: 三点一起 is not 3.1
# The digits that make a pair with one before them, so that the numeral does not end there: 一百二三十.
_NOT_NEXT = {
    "一": "二两",
    "二": "三",
    "三": "四五",
    "四": "五",
    "五": "六",
    "六": "七",
    "七": "八",
    "八": "九",
    "九": "",
}
_NEXT_HUNDRED = "|".join(f"(?<=[百千万]{a})(?![{b or a}])(?={_W}[百千万])" for a, b in _NOT_NEXT.items())
# Where a numeral ends but could continue: 三千|一个月, 三千五|一平, 七八十|一斤, 三点|一起, 十二|十三, 二十|二十,
# 三十万|三十万.
_BOUNDARY = re.compile(
    f"(?<=[百千万亿])(?={_W}{COUNTER}|{_ONE_WORD}|一(?:[米克升里尺寸]|公里|公斤|块(?!钱)))|"
    f"(?<=[百千万亿][一二三四五六七八九])(?=[一两半]{COUNTER})|(?<={_PAIR}十)(?=[一两半]{COUNTER})|"
    f"(?<=[零一二三四五六七八九点])(?={_ONE_WORD})|"
    f"(?<!{_W}十{_W})(?<=十{_W})(?=十{_W})|(?<={_W}十)(?={_W}十(?!{_W}))|(?<=十)(?={_W}(?:百|千(?![克米瓦赫])))|"
    f"{_NEXT_HUNDRED}|(?<=万)(?={_SECTION}万)|(?<=亿)(?={_SECTION}亿)"
)
BOUNDARY_MARK = "\x01"


def mark_boundaries(text: str) -> str:
    """``text`` with a mark where one numeral ends and the next begins, which no numeral matches across."""
    return _BOUNDARY.sub(BOUNDARY_MARK, text)


_APPROXIMATE_PARTS = re.compile(f"(.*?)({_PAIR})([十百千]?)([万亿]?)")


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
    if low in _VALUES and size > 10:
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
    """Two neighboring digits are a range: 三五百 → 300~500, 三四十万 → 30~40万, 一万六七 → 16000~17000."""
    parts = _APPROXIMATE_PARTS.fullmatch(numeral)
    assert parts is not None
    higher, pair, place, group = parts.groups()
    shared = "" if re.search("[万亿]", higher) else group
    ends = [f"{higher}{digit}{place}{'' if shared else group}" for digit in pair]
    return "~".join(write_cardinal(end) for end in ends) + shared
