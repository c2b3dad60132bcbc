"""Two numbers joined by a dash or a word: seasons and school years (08-09赛季), ranges of a quantity (2-3个, 2到3天).

What follows the second number decides. Only what has neither a season nor a measure word after it can be a date
(03-08 放假), a score or a subtraction; those patterns come later.
"""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_games import is_game
from funrecipe.text.normalize.strict_numbers import DECIMAL, read_cardinal, read_counted, read_digits
from funrecipe.text.normalize.strict_two import COUNTED_OR_NUMBERED, reads_liang

_TO = "(?:——|[-~—–到至])"

# Counted in years that begin in the middle of one: two numbers are the two years.
_SEASON = (
    "(?:赛|雪|榨|冰|流感|供暖|采暖|取暖|供热|制冷|种植|收获|足球)季|学年|财年|财政年|会计年|年度|学期|"
    "英超|西甲|意甲|德甲|法甲|中超|欧冠|欧联|CBA|NBA"
)
# Years only if the first number cannot be a quantity: 08-09级, 2018-2019届, 2015-2020间.
_COHORT = "[届级款版春夏秋冬]"
_PERIOD = f"{_COHORT}|季(?!度)|间(?![房教客])|期间|阶段|时期"
_YEAR = "(?:19|20)[0-9]{2}"
_JOINED = f"(?:{_TO}|[或/])"
SEASON = (
    rf"(?P<season>(?<![0-9./第-])(?:(?:{_YEAR}|[0-9]{{2}}){_JOINED}(?:{_YEAR}|[0-9]{{2}})(?={_SEASON})|"
    rf"(?<![A-Za-z])(?:{_YEAR}{_JOINED}(?:{_YEAR}|[0-9]{{2}})(?={_PERIOD})|0[0-9]{_JOINED}[0-9]{{2}}(?={_COHORT})|"
    rf"(?:{_YEAR}|0[0-9])/(?:{_YEAR}|[0-9]{{2}})(?=年)|[05-9][05]{_JOINED}[05-9][05](?=后))))"
)
_SEASON_PARTS = re.compile(rf"([0-9]+)({_JOINED})([0-9]+)")

# 07-01起 and 08-09本报讯 are dates: these words only begin like a measure word.
_DATED = (
    "起|本[报台刊网站人]|股[市票东]|部[队长门]|打|回[答复家国归应]|对|发|包[括含]|门[店户]|面[向对临]|头[条版]|点[击赞评]|"
    "口[头号罩]|首[发次]|排[名行队]|单[身日]|开|周[一二三四五六日天末]|星期|日[报讯期程记]"
)
_MONTH_DAY = "(?:0[1-9]-(?:0[1-9]|[12][0-9]|3[01])|1[0-2]-0[1-9])"
COUNTED_RANGE = (
    rf"(?P<counted>(?<![0-9./A-Za-z-])(?![0-9]{{2,4}}{_JOINED}[0-9]{{2,4}}年(?![级生])|{_MONTH_DAY}(?:{_DATED})|"
    rf"{_YEAR}[-/.](?:0?[1-9]|1[0-2])月)"
    rf"(?P<counted_a>{DECIMAL})(?P<counted_to>{_TO}|或)(?P<counted_b>{DECIMAL})"
    rf"(?![一-鿿]{{1,3}}/|十)(?={COUNTED_OR_NUMBERED}))"
)
# 4-4-2: single digits, spoken one after the other.
DIGIT_CHAIN = r"(?P<chain>(?<![0-9A-Za-z.-])[0-9](?:-[0-9]){2,4}(?![0-9.-]))"
# 2、3个, spoken 两三个.
ENUMERATED = rf"(?P<listed>(?<![0-9.])2(?=、3(?:{COUNTED_OR_NUMBERED})))"
_QUANTITY_BEFORE = re.compile(f"[0-9]{COUNTED_OR_NUMBERED}{{1,2}}$")
_QUANTITY = re.compile(f"{DECIMAL}{COUNTED_OR_NUMBERED}")
_MAY_WRAP = "点时月日号"  # 22-6点, 11-2月


def between(written: str) -> str:
    """The word for what joins two numbers: a word is kept, a dash is 到."""
    return written if written in ("到", "至", "或") else "到"


def is_between_quantities(text: str, start: int, end: int) -> bool:
    """Whether a dash at ``start`` stands between two quantities (30分钟-1小时), where it is not a minus."""
    return bool(_QUANTITY_BEFORE.search(text, max(0, start - 8), start) and _QUANTITY.match(text, end))


def read_season(m: re.Match[str]) -> str:
    """``08-09赛季`` and ``2008/09赛季``: two years, digit by digit."""
    parts = _SEASON_PARTS.fullmatch(m["season"])
    assert parts is not None
    first, joined, second = parts.groups()
    return f"{read_digits(first)}{between(joined)}{read_digits(second)}"


def read_counted_range(m: re.Match[str]) -> str:
    """``2-3个`` is 两到三个, ``05-12岁`` 五到十二岁; a score where the words around say so."""
    first, joined, second = m["counted_a"], between(m["counted_to"]), m["counted_b"]
    if m["counted_to"] == "-":
        if is_game(m.string, m.start(), m.end()):
            return f"{read_cardinal(first)}比{read_cardinal(second)}"
        if float(first.replace(",", "")) > float(second.replace(",", "")) and m.string[m.end()] not in _MAY_WRAP:
            joined = "减"
    if len(first) > 2 and first.startswith("0") and first.isdigit():  # 001-100号
        return f"{read_digits(first)}{joined}{read_digits(second)}"
    read = read_counted if reads_liang(m.string, m.start(), m.end()) else read_cardinal
    return f"{read(first.lstrip('0') if first.strip('0') and '.' not in first else first)}{joined}{read(second)}"


def read_digit_chain(m: re.Match[str]) -> str:
    return read_digits(m["chain"].replace("-", ""))


def read_enumerated(m: re.Match[str]) -> str:
    return "两" if reads_liang(m.string, m.start(), m.end() + len("、3")) else "二"
