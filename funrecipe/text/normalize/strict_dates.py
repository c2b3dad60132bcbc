"""Dates and clock times: patterns and readings."""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_numbers import COMPLETE, read_cardinal, read_digits
from funrecipe.text.normalize.strict_ranges import between
from funrecipe.text.normalize.strict_units import UNIT_PATTERN

_MONTH = "1[0-2]|0?[1-9]"
_DAY = "3[01]|[12][0-9]|0?[1-9]"

YMD = (
    rf"(?P<ymd>(?<![0-9])(?P<ymd_y>[0-9]{{4}}|[0-9]{{2}})(?P<ymd_sep>[-/.])(?P<ymd_m>{_MONTH})(?P=ymd_sep)"
    rf"(?P<ymd_d>{_DAY})日?(?![0-9.]*[0-9%]))"
)
DMY = (
    r"(?P<dmy>(?<![0-9])(?P<dmy_d>[0-9]{1,2})(?P<dmy_sep>[-/])(?P<dmy_m>[0-9]{1,2})(?P=dmy_sep)"
    r"(?P<dmy_y>[12][0-9]{3})(?![0-9]))"
)
YM = (
    r"(?P<ym>(?<![0-9.])(?P<ym_y>(?:19|20)[0-9]{2})(?:[-/.](?=0[1-9]|1[0-2])|[-/])(?P<ym_m>0[1-9]|1[0-2]|[1-9])"
    rf"(?![0-9.]*[0-9]|[%元万亿倍年日]|[A-Za-z]){COMPLETE}月?)"
)
MD = (
    r"(?P<md>(?<![0-9./-])(?P<md_m>0[1-9]|1[0-2])/(?P<md_d>0[1-9]|[12][0-9]|3[01])"
    rf"(?![0-9./-]|[^\W\d_]){COMPLETE})"
)
# At least one zero is padding; quantities (05-12岁) were taken by the ranges before.
MD_PADDED = (
    r"(?P<md0>(?<![0-9./-])(?:(?P<md0_m>0[1-9])[-/](?P<md0_d>0[1-9]|[12][0-9]|3[01])|"
    r"(?P<md0_m2>1[0-2])[-/](?P<md0_d2>0[1-9]))"
    rf"(?![0-9./年%‰-]|{UNIT_PATTERN}){COMPLETE})"
)
# 12-24 15:00, 10-1国庆: what follows shows that it is a date.
_HOLIDAY = (
    "元旦|春节|除夕|元宵|情人节|妇女节|植树节|愚人节|清明|劳动节|青年节|母亲节|端午|儿童节|父亲节|建党|建军|七夕|教师节|中秋|国庆|重阳|"
    "万圣|光棍节|感恩节|平安夜|圣诞|黄金周|小长假|大促|购物节"
)
MD_CLOCK = (
    rf"(?P<md1>(?<![0-9./-])(?P<md1_m>{_MONTH})[-/](?P<md1_d>{_DAY})"
    rf"(?= (?:[01]?[0-9]|2[0-4]):[0-5][0-9](?![0-9])|{_HOLIDAY}))"
)
ERA = r"(?P<era>(?<![0-9])(?P<era_y>[0-9]{1,4})年? ?(?P<era_name>(?i:a\.d\.?|b\.c\.?)|AD|BC|CE|BCE)(?![A-Za-z]))"
YEAR = (
    r"(?P<year>(?<![0-9.])(?:(?P<year_from>[0-9]{4}|[0-9]{2})(?P<year_mark>年?)(?P<year_joined>——|[-~—–到至]))?"
    r"(?P<year_y>[0-9]{2,4})年)"
)
MONTH = rf"(?P<month>(?<![0-9.])(?:(?P<month_from>{_MONTH})[-~—–])?(?P<month_m>{_MONTH})月(?!球))"
DECADE = r"(?P<decade>(?<![0-9])(?P<decade_y>(?:1[89]|20)[0-9]0)s(?![A-Za-z]))"
DAY = rf"(?P<day>(?<![0-9.])(?:(?P<day_from>{_DAY})[-~—–])?(?P<day_d>0[1-9])(?=[日号]))"
TIME = (
    r"(?P<time>(?<![0-9:.])(?P<time_h>[01]?[0-9]|2[0-4]):(?P<time_m>[0-5][0-9])(?::(?P<time_s>[0-5][0-9]))?(?![0-9:])"
    rf"{COMPLETE}(?:(?P<time_half> ?(?i:[ap]\.m\.?| ?[ap]m)(?![A-Za-z]))|[分秒](?!钟))?)"
)
HOUR = r"(?P<hour>(?<![0-9:.])(?P<hour_h>1[0-2]|0?[1-9]) ?(?P<hour_half>(?i:[ap]\.?m\.?))(?![A-Za-z0-9]))"

_HALVES_OF_DAY = ("上午", "下午", "早上", "晚上", "凌晨", "中午", "傍晚", "清晨", "午后", "夜里")
_HANZI = re.compile(r"[一-鿿]")
_SPAN_BEFORE = re.compile(
    r"(?:[近约超过了满每整共用经历长达这那前后几的]|大概|大约|不到|连续|未来|最近|长达|工作|结婚|成立|建国|建校|周年|未满|有着?)$"
)
_SPAN_AFTER = re.compile(r"[前后来内间多余的]|以[来上内前后]|之[久后前内]|历史|时间|文明|有期|左右|期|级")
_YEAR_PART_AFTER = re.compile("[底初末度款版春夏秋冬]|[上下]半年|国庆|春节|元旦")  # 18年底
_ERA_BEFORE = re.compile(r"(?:公元前?|纪元前?|西元前?|公历)$")


def is_span(before: str) -> bool:
    """Whether the words before a number make it a length of time (近10, 连续12)."""
    return bool(_SPAN_BEFORE.search(before))


def read_year(year: str, before: str, after: str) -> str:
    """The digits of ``N年``: as a year digit by digit (一九九九年), as a span of time a quantity (一百年)."""
    if _ERA_BEFORE.search(before):
        return read_digits(year)
    span = bool(_SPAN_AFTER.match(after) or is_span(before))
    if len(year) == 4:
        return read_cardinal(year) if year.endswith("00") and (span or year[0] not in "12") else read_digits(year)
    if year.startswith("0") or after[:1].isdigit() or len(year) == 2 and _YEAR_PART_AFTER.match(after):
        return read_digits(year)
    if len(year) == 3:
        return read_cardinal(year) if span or year.endswith("0") else read_digits(year)
    is_short_year = year[0] in "56789" and not span and (not before or not after)
    return read_digits(year) if is_short_year else read_cardinal(year)


def _date(year: str, month: str, day: str) -> str:
    return f"{read_digits(year)}年{read_cardinal(month)}月" + (f"{read_cardinal(day)}日" if day else "")


def read_ymd(m: re.Match[str]) -> str:
    return _date(m["ymd_y"], m["ymd_m"], m["ymd_d"])


def read_dmy(m: re.Match[str]) -> str:
    day, month = m["dmy_d"], m["dmy_m"]
    if int(month) > 12:
        day, month = month, day
    return _date(m["dmy_y"], month, day)


def read_ym(m: re.Match[str]) -> str:
    return _date(m["ym_y"], m["ym_m"], "")


def read_md(m: re.Match[str]) -> str:
    return f"{read_cardinal(m['md_m'])}月{read_cardinal(m['md_d'])}日"


def read_md0(m: re.Match[str]) -> str:
    month, day = m["md0_m"] or m["md0_m2"], m["md0_d"] or m["md0_d2"]
    return f"{read_cardinal(month)}月{read_cardinal(day)}日"


def read_md1(m: re.Match[str]) -> str:
    return f"{read_cardinal(m['md1_m'])}月{read_cardinal(m['md1_d'])}日"


def read_era(m: re.Match[str]) -> str:
    before_christ = m["era_name"][0] in "bB"
    return f"公元{'前' if before_christ else ''}{read_digits(m['era_y'])}年"


def _are_years(first: str, second: str) -> bool:
    """Whether two numbers before 年 are years (2008-2010, 08-10, 95-98, 98-02), not a length of time (3-5, 50-70)."""
    if len(first) == 4:
        return True
    is_round = first.endswith("0") and second.endswith("0")
    return first.startswith("0") or int(first) > int(second) or int(first) >= 50 and not is_round


def read_year_match(m: re.Match[str]) -> str:
    before, after = m.string[max(0, m.start() - 4) : m.start()], m.string[m.end() : m.end() + 4]
    year, first = m["year_y"], m["year_from"]
    if first:
        joined = f"{m['year_mark']}{between(m['year_joined'])}"
        is_decades = after.startswith("代") and first.endswith("0") and len(first) == 2
        read = read_cardinal if is_decades and first != "00" or not _are_years(first, year) else read_digits
        return f"{read(first)}{joined}{read(year)}年"
    if after.startswith("代"):
        return f"{read_cardinal(year) if len(year) == 2 and year[0] != '0' else read_digits(year)}年"
    return f"{read_year(m['year_y'], before, after)}年"


def read_decade(m: re.Match[str]) -> str:
    return f"{read_digits(m['decade_y'])}年代"


def read_month(m: re.Match[str]) -> str:
    start = f"{read_cardinal(m['month_from'])}到" if m["month_from"] else ""
    return f"{start}{read_cardinal(m['month_m'])}月"


def read_day(m: re.Match[str]) -> str:
    start = f"{read_cardinal(m['day_from'])}到" if m["day_from"] else ""
    return start + read_cardinal(m["day_d"])


def _half_of_day(written: str, before: str) -> str:
    if before.endswith(_HALVES_OF_DAY):
        return ""
    return "上午" if "a" in written.lower() else "下午"


def read_time(m: re.Match[str]) -> str:
    hour, minute, second, half = m["time_h"], m["time_m"], m["time_s"], m["time_half"] or ""
    # In a padded clock (03:04, 10:04am) the zero of the minutes is padding; in 5:02 it is spoken.
    attached = bool(half) and half.isalpha() and not _HANZI.search(m.string)
    padded = (hour.startswith("0") and hour not in ("0", "00")) or attached
    reading = f"{'两' if int(hour) == 2 else read_cardinal(hour)}点"
    if minute != "00" or second and second != "00":
        zero = "零" if minute.startswith("0") and minute != "00" and not padded else ""
        reading += f"{zero}{read_cardinal(minute)}分"
    if second and second != "00":
        zero = "零" if second.startswith("0") and not padded else ""
        reading += f"{zero}{read_cardinal(second)}秒"
    if attached:  # 10:04am on its own: the letters are read out
        return reading + half
    return (_half_of_day(half, m.string[: m.start()]) if half else "") + reading


def read_hour(m: re.Match[str]) -> str:
    hour = "两" if int(m["hour_h"]) == 2 else read_cardinal(m["hour_h"])
    return f"{_half_of_day(m['hour_half'], m.string[: m.start()])}{hour}点"
