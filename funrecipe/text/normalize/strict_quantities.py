"""Money, measures, percentages, fractions, rates, ratios and arithmetic: patterns and readings."""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_dates import read_time
from funrecipe.text.normalize.strict_games import is_game, is_ratio
from funrecipe.text.normalize.strict_numbers import (
    COMPLETE,
    DECIMAL,
    INTEGER,
    NUMBER,
    read_cardinal,
    read_counted,
    read_digits,
)
from funrecipe.text.normalize.strict_ranges import between, is_between_quantities
from funrecipe.text.normalize.strict_signs import COMPARISONS
from funrecipe.text.normalize.strict_units import (
    CODE_PATTERN,
    CURRENCY_CODES,
    CURRENCY_SIGNS,
    PER,
    PER_HANZI,
    PER_PATTERN,
    SIGN_PATTERN,
    UNIT_PATTERN,
    unit_name,
)

_TO = "[-~—–到至]"
_MULTIPLE = "[十百千万亿]+|[wW](?![A-Za-z])"
# After a space these are a unit only where no other Latin word follows; "in" is an English word there.
_SHORT_UNITS = "in(?![A-Za-z])|(?:s|h|t|l|L|g|m|V|W|J|ha|mi|us|kn) [A-Za-z0-9]"

MONEY = (
    rf"(?P<money>(?:(?<![A-Za-z])(?P<money_code>{CODE_PATTERN}) ?|(?P<money_sign>{SIGN_PATTERN}))(?P<money_minus>-?)"
    rf"(?P<money_n>{NUMBER})(?:(?P<money_joined>{_TO})(?:{SIGN_PATTERN})?(?P<money_to>{NUMBER}))?(?P<money_times>{_MULTIPLE})?元?"
    rf"(?:/(?P<money_per>{PER_HANZI}))?)"
)
MONEY_AFTER = (
    rf"(?P<paid>(?P<paid_n>{NUMBER})(?P<paid_times>{_MULTIPLE})? ?"
    rf"(?:(?P<paid_code>{CODE_PATTERN})(?![A-Za-z])|(?P<paid_sign>{SIGN_PATTERN})(?![0-9])))"
)
PERCENT = (
    rf"(?P<percent>(?P<percent_n>{NUMBER})(?:(?P<percent_mark>[%‰])?(?P<percent_joined>{_TO})(?P<percent_to>{NUMBER}))?"
    r"(?P<percent_unit>[%‰]))"
)
FRACTION = (
    rf"(?P<fraction>(?<![0-9/])(?:(?P<fraction_whole>[0-9]+) )?(?P<fraction_n>{NUMBER})/"
    rf"(?P<fraction_d>{NUMBER})(?![0-9/])(?: ?(?P<fraction_unit>{UNIT_PATTERN}))?)"
)
RATE = (
    rf"(?P<rate>(?P<rate_n>{NUMBER})(?:(?P<rate_joined>{_TO})(?P<rate_to>{NUMBER}))?(?P<rate_unit>[一-鿿]{{1,3}})/"
    rf"(?P<rate_per>{PER_HANZI}|{PER_PATTERN})(?![A-Za-z]))"
)
MEASURE = (
    rf"(?P<measure>(?P<measure_n>{NUMBER})(?:(?P<measure_joined>{_TO})(?P<measure_to>{NUMBER}))?"
    rf"(?: (?!(?:{_SHORT_UNITS})))?"
    rf"(?P<measure_power>平方|立方)?(?P<measure_unit>{UNIT_PATTERN})(?:/(?P<measure_per>{PER_PATTERN}|{PER_HANZI})(?![A-Za-z0-9]))?)"
)
TEN_THOUSANDS = rf"(?P<wan>(?P<wan_n>{NUMBER}) ?[wW](?=[一-鿿+，。]|$))"
THOUSANDS = rf"(?P<kilo>(?P<kilo_n>{NUMBER})[kK](?=[个人元块张粉次单步字]))"
RATIO = rf"(?P<ratio>(?<![0-9:A-Za-z]){DECIMAL}(?::{DECIMAL})+(?![0-9:]))"
GAME = rf"(?P<game>(?<![0-9./-])(?P<game_a>[0-9]{{1,3}})-(?P<game_b>[0-9]{{1,3}})(?![0-9./-]){COMPLETE})"

OPERATOR = (
    r"(?P<operator>(?<=[0-9A-Za-zα-ω)²³%°])(?:<=|>=|!=|==|[+×÷*=<>≤≥≠≈−∶]|(?<=[0-9])[xX](?=[0-9])|(?<=[0-9)])-(?=[0-9(]))"
    r"(?=[-+±]?[0-9A-Za-z.($¥√]))"
)
RANGE = (
    r"(?P<range>(?<=[0-9][点月日号年时分秒元米%万亿千百个人次岁度楼层])[-—–~](?=[0-9])|"
    r"(?:(?<=[0-9][A-Za-z°])|(?<=[0-9][A-Za-zμ°][A-Za-z])|(?<=[0-9][A-Za-z]{3}))[-~—–]"
    rf"(?=[-+]?{NUMBER} ?{UNIT_PATTERN})|"
    r"(?<=[0-9][apAP][mM])[-~—–](?=[0-9])|(?<=[0-9一-鿿])[~—–](?=[-0-9.]))"
)
# Not a sign: 歼-20, 东风-41, 长征-5.
SIGN = r"(?P<sign>(?<![0-9A-Za-z%)歼轰运直风征舟娥苏格图旗宫击浪])[-−+](?=[.0-9$¥€£百])|(?:\+/-|±)(?=[.0-9]))"
POWER = (
    rf"(?P<power>(?:(?<=[0-9A-Za-z)])\^(?P<power_n>-?{INTEGER}) ?"
    rf"(?:(?P<power_unit>{UNIT_PATTERN})(?:/(?P<power_per>{PER_PATTERN})(?![A-Za-z0-9]))?)?|[²³]))"
)
PLUS = r"(?P<plus>(?<=[0-9wW万千])\+(?![0-9A-Za-z(.+]))"
RESOLUTION = (
    r"(?P<resolution>(?<![0-9.])(?P<resolution_x>[0-9]{3,4})[xX*×](?P<resolution_y>[0-9]{3,4})(?![0-9.]|.*=)"
    rf"{COMPLETE})"
)
ANGLE = r"""(?P<angle>(?P<angle_d>[0-9]+)°(?P<angle_m>[0-9]{1,2})'(?:(?P<angle_s>[0-9.]+)(?:"|''))?)"""
MINUTES = r"""(?P<minutes>(?P<minutes_m>[0-9]+)'(?P<minutes_s>[0-9]+)(?:"|''))"""
HOURS_MINUTES = r"(?P<hours>(?P<hours_h>[0-9]+) ?h(?:rs?)? ?(?P<hours_m>[0-9]+) ?m(?:ins?)?(?![A-Za-z0-9]))"
# 1米83, 9秒83: what follows the unit is read digit by digit.
SPLIT_UNIT = (
    r"(?P<split>(?<![0-9.])(?P<split_n>[0-9]{1,2})(?P<split_unit>米|秒(?=[0-9]{2}))(?P<split_rest>[0-9]{1,2})"
    r"(?![0-9.%A-Za-z米厘多]))"
)
ORDINAL = rf"(?P<ordinal>(?P<ordinal_n>{INTEGER})(?:st|nd|rd|th)(?![A-Za-z]))"
ROOT = r"(?P<root>√(?=[0-9A-Za-z(]))"

_OPERATORS = COMPARISONS | {"+": "加", "−": "减", "×": "乘", "*": "乘", "x": "乘", "X": "乘", "÷": "除以", "∶": "比"}


def _times(written: str | None) -> str:
    return "万" if written in ("w", "W") else written or ""


def _span(m: re.Match[str], name: str) -> str:
    first, joined, last = m[f"{name}_n"], m[f"{name}_joined"], m[f"{name}_to"]
    return f"{read_counted(first)}{between(joined)}{read_counted(last)}" if last else read_counted(first)


def read_money(m: re.Match[str]) -> str:
    currency = CURRENCY_SIGNS[m["money_sign"]] if m["money_sign"] else CURRENCY_CODES[m["money_code"]]
    minus = "负" if m["money_minus"] else ""
    per = f"每{m['money_per']}" if m["money_per"] else ""
    return f"{per}{minus}{_span(m, 'money')}{_times(m['money_times'])}{currency}"


def read_money_after(m: re.Match[str]) -> str:
    currency = CURRENCY_SIGNS[m["paid_sign"]] if m["paid_sign"] else CURRENCY_CODES[m["paid_code"]]
    return f"{read_counted(m['paid_n'])}{_times(m['paid_times'])}{currency}"


def read_percent(m: re.Match[str]) -> str:
    base = "百分之" if m["percent_unit"] == "%" else "千分之"
    if not m["percent_to"]:
        return base + read_cardinal(m["percent_n"])
    again = base if m["percent_mark"] else ""
    return f"{base}{read_cardinal(m['percent_n'])}{between(m['percent_joined'])}{again}{read_cardinal(m['percent_to'])}"


def read_fraction(m: re.Match[str]) -> str:
    numerator, denominator = m["fraction_n"], m["fraction_d"]
    unit = unit_name(m["fraction_unit"] or "") or m["fraction_unit"] or ""
    if unit == "毫米汞柱" or is_ratio(m.string, m.start()):
        return f"{read_cardinal(numerator)}比{read_cardinal(denominator)}{unit}"
    if denominator == "1" and numerator.isdigit() and int(numerator) <= 12:  # 10/1 is not a fraction
        return f"{read_cardinal(numerator)}月一日"
    if is_season(numerator, denominator):  # 2019/2020赛季
        return f"{read_digits(numerator)}到{read_digits(denominator)}"
    whole = f"{read_cardinal(m['fraction_whole'])}又" if m["fraction_whole"] else ""
    return f"{whole}{read_cardinal(denominator)}分之{read_cardinal(numerator)}{unit}"


def is_season(first: str, second: str) -> bool:
    """Whether two numbers are a year and the next one."""
    return len(first) == len(second) == 4 and first[:2] in ("19", "20") and int(second) == int(first) + 1


def read_rate(m: re.Match[str]) -> str:
    per = PER.get(m["rate_per"], m["rate_per"])
    return f"每{per}{_span(m, 'rate')}{m['rate_unit']}"


def read_measure(m: re.Match[str]) -> str:
    written = m["measure_unit"]
    unit = unit_name(written)
    if len(written) == 1:
        before, after = m.string[max(0, m.start() - 2) : m.start()], m.string[m.end() : m.end() + 2]
        if written == "m" and after in ("宽带", "带宽", "光纤"):
            unit = "兆"
        elif _NAME_BEFORE.search(before) or written in "gt" and _DATA_AFTER.match(after):
            unit = None
    if not unit:  # a letter that is not a unit here (iPhone 6s, 4g网络), or one only in another case (mw)
        per = f" {m['measure_per']}" if m["measure_per"] else ""
        return f"{_span(m, 'measure')}{written}{per}"
    below_zero = bool(_MINUS_BEFORE.search(m.string, max(0, m.start() - 2), m.start()))
    if unit == "摄氏度" and below_zero and not m["measure_to"]:
        unit = "度"  # 零下十度
    quantity = f"{_span(m, 'measure')}{m['measure_power'] or ''}{unit}"
    if not m["measure_per"] or m.string[: m.start()].endswith(("时速", "每小时")):
        return quantity
    return f"每{PER.get(m['measure_per'], m['measure_per'])}{quantity}"


def read_ten_thousands(m: re.Match[str]) -> str:
    text = m.string
    is_power = _POWER_BEFORE.search(text, 0, m.start()) or _POWER_AFTER.match(text, m.end())
    is_watts = is_power or m["wan"] == text and text.endswith("W")
    return f"{read_counted(m['wan_n'])}{'瓦' if is_watts else '万'}"


def read_thousands(m: re.Match[str]) -> str:
    return f"{read_counted(m['kilo_n'])}千"


def read_ratio(m: re.Match[str]) -> str:
    return "比".join(read_cardinal(part) for part in m["ratio"].split(":"))


def read_game(m: re.Match[str]) -> str:
    """``3-1`` is a score, a subtraction or a range."""
    first, second = m["game_a"], m["game_b"]
    if is_game(m.string, m.start(), m.end()):
        joined = "比"
    else:
        alone = len(m.string) == len(m["game"])
        if alone and "10" <= first <= "12" and "13" <= second <= "31":
            return f"{read_cardinal(first)}月{read_cardinal(second)}日"
        joined = "减" if alone or "=" in m.string or int(first) > int(second) else "到"
    return f"{read_cardinal(first)}{joined}{read_cardinal(second)}"


def read_clock(m: re.Match[str]) -> str:
    """``H:MM``: a score where the words around say so, a time otherwise."""
    if m["time_s"] is None and is_game(m.string, m.start(), m.end()):
        return f"{read_cardinal(m['time_h'])}比{read_cardinal(m['time_m'])}"
    return read_time(m)


_ALSO_PUNCTUATION = frozenset("+−×*xX÷<>∶")  # between Latin words; ≤ and = are operators everywhere


def _is_latin(character: str) -> bool:
    return character.isalpha() and not "一" <= character <= "鿿"


def read_operator(m: re.Match[str]) -> str:
    written = m["operator"]
    if written == "-":
        is_code = _CODE_BESIDE_DASH.search(m.string, max(0, m.start() - 6), m.end() + 6)
        return " " if is_code else "减" if "=" in m.string else "到"
    before, after = m.string[m.start() - 1], m.string[m.end()]
    if written in _ALSO_PUNCTUATION and before.isalpha() and not after.isdigit():
        in_word = _is_latin(m.string[m.start() - 2 : m.start() - 1])
        if in_word or after.isalpha() and _is_latin(m.string[m.end() + 1 :][:1]):
            return " "
    return _OPERATORS[written]


_CODE_BESIDE_DASH = re.compile("[0-9]{5}-|-[0-9]{5}|[A-Za-z][0-9]{1,3}-[0-9]{3,4}")  # GB/T 19001-2016, i7-9700K
_NAME_BEFORE = re.compile("[A-Za-z] ?$")
_MINUS_BEFORE = re.compile(r"(?<![0-9A-Za-z%)°])[-−]$")
_POWER_BEFORE = re.compile("(?:功率|电|灯泡?|充|瓦数)[是为达到约：:]{0,2}$")
_POWER_AFTER = re.compile("的?灯|功率|快充|充电|音箱|适配|电[源机炉热视]")
_DATA_AFTER = re.compile("内存|存储|硬盘|显存|流量|优盘|版|运存|网|手机|信号|时代|卡|套餐|基站|技术|通信|固态|空间")
_TEMPERATURE = re.compile(rf"{NUMBER}(?:[-~到至]-?{NUMBER})?(?:°C|°|度|摄氏度)")


def read_sign(m: re.Match[str]) -> str:
    written = m["sign"]
    if written in "-−":
        if is_between_quantities(m.string, m.start(), m.end()):
            return "到"
        return "零下" if _TEMPERATURE.match(m.string, m.end()) else "负"
    return "正" if written == "+" else "正负"


def read_power(m: re.Match[str]) -> str:
    written = m["power"]
    if written in "²³":
        return "的平方" if written == "²" else "的立方"
    exponent = m["power_n"]
    unit, per = unit_name(m["power_unit"] or "") or m["power_unit"] or "", m["power_per"]
    if per:
        unit = f"{unit}每{PER[per]}"
    return f"的{'负' if exponent.startswith('-') else ''}{read_cardinal(exponent.lstrip('-'))}次方{unit}"


def read_resolution(m: re.Match[str]) -> str:
    return f"{read_digits(m['resolution_x'])}乘{read_digits(m['resolution_y'])}"


def read_angle(m: re.Match[str]) -> str:
    seconds = f"{read_cardinal(m['angle_s'])}秒" if m["angle_s"] else ""
    return f"{read_cardinal(m['angle_d'])}度{read_cardinal(m['angle_m'])}分{seconds}"


def read_split_unit(m: re.Match[str]) -> str:
    return f"{read_counted(m['split_n'])}{m['split_unit']}{read_digits(m['split_rest'])}"


def read_hours_minutes(m: re.Match[str]) -> str:
    return f"{read_counted(m['hours_h'])}小时{read_counted(m['hours_m'])}分钟"


def read_minutes(m: re.Match[str]) -> str:
    return f"{read_counted(m['minutes_m'])}分{read_cardinal(m['minutes_s'])}秒"


def read_ordinal(m: re.Match[str]) -> str:
    return f"第{read_cardinal(m['ordinal_n'])}"
