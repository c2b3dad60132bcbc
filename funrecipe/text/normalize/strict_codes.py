"""Telephone numbers, addresses, versions, codes, and all numbers that no other pattern covers."""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_dates import is_span
from funrecipe.text.normalize.strict_numbers import NUMBER, read_bare, read_cardinal, read_digits
from funrecipe.text.normalize.strict_two import is_ordered, reads_liang
from funrecipe.text.normalize.strict_units import COUNTERS

WEB = (
    r"(?P<web>(?<![A-Za-z0-9])(?:(?:https?://|www\.)[A-Za-z0-9./?=&%#:~_+-]*[A-Za-z0-9/]|"
    r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+|"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?:com|cn|net|org|gov|edu)(?![A-Za-z0-9])))"
)
PHONE = (
    r"(?P<phone>(?<![0-9第.])(?:(?:\(?\+?86\)?[- ]?)?1[3-9][0-9][- ]?[0-9]{4}[- ]?[0-9]{4}|"
    r"(?:\+?86[- ]?)?\(?0(?:10|2[0-9]|[3-9][0-9]{2})\)?[- ]?[1-9][0-9]{2,3}[- ]?[0-9]{4}|"
    r"\+?86[- ](?:10|2[0-9]|[3-9][0-9]{2})[- ][1-9][0-9]{6,7}|"
    r"[48]00[- ]?[0-9]{3}[- ]?[0-9]{4}|[48]00-[0-9]{4}-[0-9]{3}|\+[1-9][0-9]{0,2}[- ]?[0-9]{6,11})(?![0-9元万亿]))"
)
DOTTED = r"(?P<dotted>(?<![0-9.])(?:[vV](?=[0-9]))?(?P<dotted_n>[0-9]+(?:\.[0-9]+){2,}))"
# B2B, O2O: the digit is spoken as the English word.
LETTER_TO_LETTER = r"(?P<to>(?<![A-Za-z0-9])(?i:[BCFGMOPSV]2[BCFGMOPSV])(?![A-Za-z0-9]))"
# 3.15晚会, 9·11: the parts of a date that has become a name.
NAMED_DAY = (
    r"(?P<named>(?<![0-9.])[0-9]{1,2}(?:·[0-9]{1,2}|\.[0-9]{1,2}"
    r"(?=晚会|购物|事件|大促|假期|长假|黄金周|地震|事变|惨案|运动|妇女节|儿童节|劳动节|青年节|建军节|国庆))(?![0-9.]))"
)
PLAIN = f"(?P<plain>{NUMBER})"

_WEB_SIGNS = str.maketrans({".": "点", "@": " AT ", "/": "斜杠", ":": "冒号", "-": "杠", "_": "下划线"})
_COUNTER = re.compile(COUNTERS)
_CODE_BEFORE = re.compile(
    r"(?:尾号|编号|代号|代码|密码|验证码|账号|帐号|卡号|单号|订单号?|工号|学号|证号|型号|编码|序号|座号|号码|邮编|区号|机号|牌号|"
    r"QQ|波音|空客|频道|航班|车次|车牌|电话|手机|热线|拨打|拨通|致电|分辨率|像素值|口令|身份证号?码?|房间号?|房号|门牌号?|呼叫|单元|号楼|栋|幢|转|称[为作]|叫[做作])"
    r"[是为：:#\"'“]*$"
)
_CODE_AFTER = re.compile(
    r"[\"'”]?号[A-Z文选]|号?[房室]|房间|教室|包厢|包间|病房|宿舍|新政|高校|大学|工程|医院|所|事件|国道|省道|县道|晚会|大促|购物|"
    r"年中|路(?!人)|航班|次列车|次高铁|专线|合金|法案|厂|高地|行动|惨案|热线|工作制|活动|计划|政策|条款|新规|号文|飞机|客机|战机"
)
_EMERGENCY = re.compile("11[024790]|12[012]|911|999|1211[0-9]|12345")
_EMERGENCY_CONTEXT = re.compile(r"(?:打|拨|呼叫|报警|火警|匪警|急救|电话|热线)[了通过个]?[是为：:]?$")
_EMERGENCY_AFTER = re.compile(r"报警|急救|火警|热线|电话|指挥|出警|接警|救护|平台|客服|查询|查号|联动")
_ARITHMETIC_BEFORE = re.compile(r"(?:[加减乘除于第每]|乘以|除以|[+×÷*/=<>≤≥≈±−~—–-])$")
_ARITHMETIC_AFTER = re.compile(r"[加减乘除+×÷*/=<>≤≥≈~—–-]|以[上下内外]|左右|上下|分之|以来")
_LETTER_BEFORE = re.compile("[A-Za-z]-?$|(?<![A-Za-z])[A-Z]{1,4} $")
_LINES_AFTER = re.compile(r"\s*[Pp](?![A-Za-z])")  # 1080P
_YEAR_AFTER = re.compile(
    "[届级款版]|十年|期间|间(?![房教客])|学年|财年|赛季|奥运|世界杯|亚运|[春夏秋冬]季?|[上下]半年|国庆|新年|春节|高考|双"
)
_SEASON_AFTER = re.compile("赛季|学年|财年")  # 98赛季
_RANGE_BESIDE = re.compile("[-~—–到至]")
_GENERATION = re.compile("[05-9][05]")
_GENERATION_AFTER = re.compile("(?:[、和及与][05-9][05])*后")


def read_web(m: re.Match[str]) -> str:
    return read_digits(m["web"].replace("://", ":")).translate(_WEB_SIGNS)


def read_phone(m: re.Match[str]) -> str:
    return read_digits("".join(c for c in m["phone"] if c.isdigit()))


def read_letter_to_letter(m: re.Match[str]) -> str:
    return f"{m['to'][0]} TO {m['to'][2]}"


def read_dotted(m: re.Match[str]) -> str:
    """``127.0.0.1`` digit by digit, ``v1.2.3`` part by part."""
    parts = m["dotted_n"].split(".")
    is_address = len(parts) == 4 and all(len(part) <= 3 and int(part) < 256 for part in parts)
    read = read_digits if is_address else read_bare
    prefix = m["dotted"][0] if m["dotted"][0] in "vV" else ""
    return prefix + "点".join(read(part) for part in parts)


def read_named_day(m: re.Match[str]) -> str:
    digits = "".join(c for c in m["named"] if c.isdigit())
    return "十一" if digits == "101" else read_digits(digits)


def read_plain(m: re.Match[str]) -> str:
    """A number that no other pattern took; its neighbors decide how it is read."""
    number, text = m["plain"], m.string
    if "." in number or "," in number:  # thousands commas are written in quantities only
        return read_cardinal(number)
    before, after = text[max(0, m.start() - 7) : m.start()], text[m.end() : m.end() + 4]
    if before.endswith("第") or is_ordered(text, m.start()):
        return read_cardinal(number)
    if number == "2" and reads_liang(text, m.start(), m.end()):
        return "两"
    if _GENERATION.fullmatch(number) and _GENERATION_AFTER.match(text, m.end()):  # 90后, 80、90后
        return read_digits(number)
    if _is_service_number(number, before, after):
        return read_digits(number)
    if len(number) >= 3 and (_CODE_BEFORE.search(before) or _CODE_AFTER.match(after)):
        return read_digits(number)
    if _CODE_BEFORE.search(before) and before[-1:] not in "转话":
        return read_bare(number)
    if number.startswith("0"):
        return read_digits(number)
    if len(number) == 4 and "1950" <= number < "2050" and _YEAR_AFTER.match(after):
        return read_digits(number)
    if len(number) == 2 and _SEASON_AFTER.match(after) and not (is_span(before) or _LETTER_BEFORE.search(before)):
        return read_digits(number)
    counter = _COUNTER.match(after)
    if counter and not (after[0] in "号次路" and (len(number) > 3 or _LETTER_BEFORE.search(before))):
        return read_cardinal(number)
    if len(number) >= 3 and (_LETTER_BEFORE.search(before) or _LINES_AFTER.match(after)):
        return read_digits(number)
    if len(number) == 4 and "1900" <= number < "2050" and _RANGE_BESIDE.search(f"{before[-1:]} {after[:1]}"):
        return read_digits(number)
    if _ARITHMETIC_BEFORE.search(before) or _ARITHMETIC_AFTER.match(after):
        return read_cardinal(number)
    return read_bare(number)


def _is_service_number(number: str, before: str, after: str) -> bool:
    if not _EMERGENCY.fullmatch(number):
        return False
    alone = not before and not after
    return alone or bool(_EMERGENCY_CONTEXT.search(before) or _EMERGENCY_AFTER.match(after))
