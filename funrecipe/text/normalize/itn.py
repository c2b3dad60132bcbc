"""The ``itn`` normalization: the canonical *written* form (2023/10/01, 3.5%, 10:30, $5), for texts that mix styles.

The text is first brought into its spoken form by the ``strict`` profile, however it was written, and then every
number is written in digits. So 百分之五十, 50% and ５０％ become one string. Single digits stay hanzi where no
construction says that they are numbers (一共, 两年后), as in WeTextProcessing's default.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from funrecipe.text.normalize import strict
from funrecipe.text.normalize.itn_numbers import (
    APPROXIMATE,
    BOUNDARY_MARK,
    CARDINAL,
    CODE,
    COUNTER,
    DIGIT,
    PREFIXED,
    mark_boundaries,
    write_approximate,
    write_cardinal,
    write_code,
)

_CURRENCIES: dict[str, str] = {
    "元": "¥", "块钱": "¥", "块": "¥", "美元": "$", "美金": "$", "欧元": "€", "英镑": "£", "港元": "HK$", "港币": "HK$",
    "澳元": "A$", "加元": "C$", "新台币": "TWD", "台币": "TWD", "韩元": "₩", "日元": "JPY", "卢布": "₽", "泰铢": "฿",
    "印度卢比": "₹", "瑞士法郎": "CHF", "新加坡元": "S$",
}  # fmt: skip
_UNITS: dict[str, str] = {
    "千米": "km", "公里": "km", "米": "m", "分米": "dm", "厘米": "cm", "毫米": "mm", "微米": "μm", "纳米": "nm",
    "克": "g", "千克": "kg", "公斤": "kg", "毫克": "mg", "升": "L", "毫升": "ml", "毫秒": "ms", "秒": "s",
    "摄氏度": "°C", "华氏度": "°F", "平方米": "m²", "平方千米": "km²", "平方公里": "km²", "平方厘米": "cm²",
    "立方米": "m³", "立方厘米": "cm³", "赫兹": "Hz", "千赫兹": "kHz", "兆赫兹": "MHz", "吉赫兹": "GHz", "伏": "V",
    "伏特": "V", "瓦": "W", "千瓦": "kW", "毫安时": "mAh", "分贝": "dB", "千瓦时": "kWh",
}  # fmt: skip
_PER = {"小时": "h", "秒": "s", "分钟": "min"}
_MORNING = ("上午", "早上", "凌晨", "清晨")
_SIGNS = {"加": "+", "减": "-", "乘": "×", "除以": "÷", "等于": "=", "到": "~", "至": "~", "比": ":"}
_TRAINS = {"高": "G", "动": "D", "特": "T", "快": "K", "城": "C", "直": "Z"}

# A digit of 角 or 分, and the end of one without its unit: 三块五, 三块四毛五, but 三块五个.
_CENT = f"(?!零){DIGIT}"
_ALONE = f"(?![十百千万亿]|{COUNTER}(?!邮)|块)"
_N = f"负?{CARDINAL}"
_ANY = f"负?(?:{APPROXIMATE}|{CARDINAL})"
_SIGN = "|".join(_SIGNS)
_TWO_DIGITS = f"(?:[一二三四五]?十{DIGIT}?|零?{DIGIT})"
_YEAR = f"(?:{DIGIT}{{4}}|[一二两三]千(?:零{DIGIT})?)"
# 08, 08~10, 2008~2009 before what is counted in years.
_YEARS = (
    f"(?:(?:零{DIGIT}|{DIGIT}{{4}})(?:[到至](?:{DIGIT}{{4}}|{DIGIT}{{2}}(?!{DIGIT})))?|"
    f"[五六七八九]{DIGIT}[到至]{DIGIT}{{2}}(?!{DIGIT}))"
)
_OF_YEARS = "赛季|学年|财年|年(?!龄)|[届级款]"
# Words in which the numeral is not a number, or not an exact one.
_IDIOMS = (
    "(?:不管)?三七二十一|七七四十九|二一添作五|三下五除二|十一(?=黄金周|长假|小长假|国庆)|一二[八九](?=运动|事变)|九一八(?=事变)|"
    "九九八十一|一五一十|十全十美|成千上万|千千万万|万一|百分百|七七八八|乱七八糟|三三两两|一点一滴|一点点|"
    "红?十字(?:路|街|架|绣|军|花|镐|形|会|坐标|交叉|星|勋章|口)?|[一二三四五六七八九]+不离十|十[之有]八九|十拿九稳|十年(?:寒窗|树木|如一日)|百年树人|"
    "一目十行|十室九空|以一当十|一传十十传百|传百|十面埋伏|十里(?:洋场|长[街亭]|八乡)|十万(?:火急|大山|个为什么|八千里)|十八(?:般武艺|罗汉|层地狱)|"
    "十(?:足|佳|堰市?|渡|恶不赦|指连心|项全能)|女大十八变|五十步笑百步|三十六计|七十二(?:变|行)|三百六十行|三十而立|四十不惑|五十知天命|三十年河[东西]|"
    "百八十|[千万]八[百千]|百十|百儿八十|十二分(?![钟之])"
)
_KEPT = (
    f"{_IDIOMS}|十[一二三四五]五(?!{COUNTER}|岁)|"
    "[一二两三四五六七八九十百千万零]*[十百千]几十?[百千万亿]*|几[十百千万亿]+|"
    "十分(?!之|钟|[零一二三四五六七八九])|(?<=[有差早晚快慢多少大小高低好再这那轻重远近长短])一点(?=一)|"
    "一([^零一二三四五六七八九两十百千万亿兆])一\\2"  # 一点一点, 一块一块
)


def _longest_first(words: dict[str, str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _amount_pattern(name: str) -> str:
    return f"(?P<{name}>{_ANY})(?:[到至](?P<{name}_to>{_ANY}))?"


def _write(number: str) -> str:
    return f"-{write_cardinal(number[1:])}" if number.startswith("负") else write_cardinal(number)


def _write_any(number: str) -> str:
    if number.startswith("负"):
        return "-" + _write_any(number[1:]).replace("~", "~-")
    return write_approximate(number) if _IS_APPROXIMATE.fullmatch(number) else _write(number)


def _write_span(first: str, last: str | None) -> str:
    if not last:
        return _write_any(first)
    joined = "到" if any(map(_IS_APPROXIMATE.fullmatch, (first, last))) else "~"
    return f"{_write_any(first)}{joined}{_write_last(last)}"


def _amount(m: re.Match[str], name: str) -> str:
    return _write_span(m[name], m[f"{name}_to"])


def _write_last(number: str) -> str:
    """The end of a range: 三到五万 is 3~5万, as 三五万 is."""
    return f"{_write(number[:-1])}{number[-1]}" if re.fullmatch(f"{DIGIT}[万亿]", number) else _write_any(number)


def _padded(numeral: str) -> str:
    return f"{int(write_cardinal(numeral.removeprefix('零') or '零')):02}"


def _write_address(m: re.Match[str]) -> str:
    return ".".join(write_code(part) for part in m["address"].split("点"))


def _write_train(m: re.Match[str]) -> str:
    return _TRAINS[m["train"][0]] + write_code(m["train"][1:])


def _write_year(year: str) -> str:
    return write_cardinal(year) if "千" in year else write_code(year)


def _write_date(m: re.Match[str]) -> str:
    parts = [_write_year(m["date_y"])] if m["date_y"] else []
    return "/".join([*parts, _padded(m["date_m"]), *([_padded(m["date_d"])] if m["date_d"] else [])])


def _write_day(m: re.Match[str]) -> str:
    return f"{_padded(m['day_m'])}/{_padded(m['day_d'])}"


def _write_time(m: re.Match[str]) -> str:
    minute = {"半": "30", "一刻": "15", "三刻": "45"}.get(m["time_m"]) or _padded(m["time_m"])
    second = f":{_padded(m['time_s'])}" if m["time_s"] else ""
    half = "" if not m["time_half"] else "a.m." if m["time_half"] in _MORNING else "p.m."
    return f"{write_cardinal(m['time_h'])}:{minute}{second}{half}"


def _write_percent(m: re.Match[str]) -> str:
    ends = ["一百" if part == "百" else part for part in (m["percent_n"], m["percent_to"])]
    return f"{m['percent_minus'] and '-'}{_write_span(*ends)}{'%' if m['percent_base'] == '百' else '‰'}"


def _write_years(m: re.Match[str]) -> str:
    return "~".join(write_code(year) for year in re.split("[到至]", m["years"]))


def _write_fraction(m: re.Match[str]) -> str:
    minus = "-" if m["fraction_minus"] else ""
    return f"{minus}{write_cardinal(m['fraction_n'])}/{write_cardinal(m['fraction_d'])}"


def _write_money(m: re.Match[str]) -> str:
    jiao = m["money_jiao"] or m["money_bare_jiao"]
    fen = m["money_fen"] or m["money_only_fen"] or m["money_bare_fen"]
    cents = f".{write_cardinal(jiao or '零')}{write_cardinal(fen) if fen else ''}" if jiao or fen else ""
    return f"{_CURRENCIES[m['money_name']]}{_amount(m, 'money_n')}{cents}"


def _write_rate(m: re.Match[str]) -> str:
    if m["rate_n"]:
        return f"{_write_any(m['rate_n'])}{_UNITS[m['rate_unit']]}/{_PER[m['rate_per']]}"
    return f"{_write_any(m['rate2_n'])}{_UNITS[m['rate2_unit']]}/{_PER[m['rate2_per']]}"


def _write_measure(m: re.Match[str]) -> str:
    return _amount(m, "measure_n") + _UNITS[m["measure_unit"]]


def _write_below_zero(m: re.Match[str]) -> str:
    last = f"~-{write_cardinal(m['below_zero_to'])}" if m["below_zero_to"] else ""
    return f"{_write_any('负' + m['below_zero_n'])}{last}°C"


def _write_expression(m: re.Match[str]) -> str:
    unit = _UNITS.get(m["expression_unit"] or "", "")
    expression = m["expression"].removesuffix(m["expression_unit"] or "")
    if span := re.fullmatch(f"({_N})[到至]({_N})", expression):
        return f"{_write(span[1])}~{_write_last(span[2])}{unit}"
    return "".join(_SIGNS.get(part) or _write(part) for part in re.split(f"({_SIGN})", expression)) + unit


def _write_code(m: re.Match[str]) -> str:
    digits = m["code"].removesuffix("X")  # the check digit of an identity card
    return write_code(digits) + m["code"][len(digits) :]


def _write_cardinal(m: re.Match[str]) -> str:
    numeral, text = m["cardinal"], m.string
    if len(numeral) > 1 or numeral == "十" or len(text) == 1:
        return _write(numeral)
    in_a_code = _LATIN_BESIDE.search(f"{text[: m.start()][-1:]}|{text[m.end() :][:1]}")
    return _write(numeral) if in_a_code else numeral


_LATIN_BESIDE = re.compile("[A-Z]")  # GPT4, 5G
_IS_APPROXIMATE = re.compile(APPROXIMATE)
_UNIT_NAMES = _longest_first(_UNITS)
_PER_NAMES = "|".join(_PER)
_DAY_PART = "上午|早上|凌晨|清晨|下午|晚上|傍晚"

# At each place the first matching pattern wins. The outer group of each has the name used here.
_RULES: list[tuple[str, str, Callable[[re.Match[str]], str]]] = [
    ("kept", f"(?P<kept>{_KEPT})", lambda m: m[0]),
    ("address", rf"(?P<address>{DIGIT}{{1,3}}(?:点{DIGIT}{{1,3}}){{3}})", _write_address),
    (
        "train",
        rf"(?P<train>[高动特快城直]{DIGIT}{{3,4}}(?![十百千万亿点零一二三四五六七八九])|^[高动特快城直]{DIGIT}{{2}}$)",
        _write_train,
    ),
    (
        "date",
        rf"(?P<date>(?:(?P<date_y>{_YEAR})年)(?P<date_m>{_TWO_DIGITS})月(?:(?P<date_d>{_TWO_DIGITS})[日号])?)",
        _write_date,
    ),
    ("years", rf"(?P<years>{_YEARS}(?={_OF_YEARS}))", _write_years),
    ("year", rf"(?P<year>{_YEAR}(?=年))", lambda m: _write_year(m[0])),
    ("day", rf"(?P<day>(?P<day_m>{_TWO_DIGITS})月(?P<day_d>{_TWO_DIGITS})[日号])", _write_day),
    (
        "below_zero",
        rf"(?P<below_zero>零下(?P<below_zero_n>{APPROXIMATE}|{CARDINAL})(?:[到至](?:零下)?(?P<below_zero_to>{CARDINAL}))?"
        "(?:摄氏)?度)",
        _write_below_zero,
    ),
    (
        "time",
        rf"(?P<time>(?P<time_half>{_DAY_PART})?(?P<time_h>[一二]?十{DIGIT}?|{DIGIT})点"
        rf"(?P<time_m>{_TWO_DIGITS}(?=分)|[二三四五]?十{DIGIT}?(?![百千万亿]|{DIGIT})|半|[一三]刻)分?"
        rf"(?:(?P<time_s>{_TWO_DIGITS})秒)?)",
        _write_time,
    ),
    (
        "percent",
        rf"(?P<percent>(?P<percent_minus>负?)(?P<percent_base>[百千])分之(?P<percent_n>百|{_ANY})"
        rf"(?:到(?:(?P=percent_base)分之)?(?P<percent_to>百|{_ANY}))?)",
        _write_percent,
    ),
    (
        "fraction",
        rf"(?P<fraction>(?P<fraction_minus>负?)(?P<fraction_d>{CARDINAL})分之(?P<fraction_n>{CARDINAL}))",
        _write_fraction,
    ),
    (
        "rate",
        rf"(?P<rate>每(?P<rate_per>{_PER_NAMES})(?P<rate_n>{_ANY})(?P<rate_unit>{_UNIT_NAMES})|"
        rf"(?P<rate2_n>{_ANY})(?P<rate2_unit>{_UNIT_NAMES})每(?P<rate2_per>{_PER_NAMES}))",
        _write_rate,
    ),
    (
        "money",
        rf"(?P<money>{_amount_pattern('money_n')}(?!块(?![钱{DIGIT[1:-1]}])(?<![十百千万亿点].块)(?<![十百千万亿]块)(?<![十百千万亿]..块))"
        rf"(?P<money_name>{_longest_first(_CURRENCIES)})"
        rf"(?:(?:零?(?P<money_jiao>{_CENT})[角毛](?:(?P<money_fen>{_CENT})(?:分|{_ALONE}))?|零?(?P<money_only_fen>{_CENT})分|"
        rf"(?P<money_bare_jiao>{_CENT})(?<=块.){_ALONE}|零(?P<money_bare_fen>{_CENT})(?<=块零.){_ALONE})钱?)?)",
        _write_money,
    ),
    ("measure", rf"(?P<measure>{_amount_pattern('measure_n')}(?P<measure_unit>{_UNIT_NAMES}))", _write_measure),
    ("expression", rf"(?P<expression>{_N}(?:(?:{_SIGN}){_N})+(?P<expression_unit>{_UNIT_NAMES})?)", _write_expression),
    ("plus_minus", rf"(?P<plus_minus>正负{CARDINAL})", lambda m: f"±{write_cardinal(m[0][2:])}"),
    ("negative", rf"(?P<negative>负(?:{PREFIXED}|{CARDINAL}))", lambda m: _write_any(m[0])),
    ("code", rf"(?P<code>{CODE}X?(?![十百千万亿]))", _write_code),
    (
        "approximate",
        rf"(?P<approximate>{PREFIXED}|{APPROXIMATE}(?<=[十百千万亿]))",
        lambda m: write_approximate(m[0]),
    ),
    ("cardinal", rf"(?P<cardinal>{CARDINAL})", _write_cardinal),
]
_WRITERS = {name: writer for name, _, writer in _RULES}
_FIRST_CHARACTERS = "正负每零一二两三四五六七八九十百千万几幺洞不成乱上早凌清下晚傍高动特快城直"
_NUMBERS = re.compile(f"(?=[{_FIRST_CHARACTERS}])(?:{'|'.join(pattern for _, pattern, _ in _RULES)})")
_TOUCHING = re.compile("(?<=[0-9])\x00(?=[0-9])")


def normalize(text: str) -> str:
    """The canonical written form of ``text``: digits, units and signs; upper case; no sentence punctuation."""
    marked = mark_boundaries(strict.normalize(text))
    written = _NUMBERS.sub(lambda m: f"\x00{_WRITERS[m.lastgroup or ''](m)}", marked).replace(BOUNDARY_MARK, "")
    return _TOUCHING.sub(" ", written).replace("\x00", "")
