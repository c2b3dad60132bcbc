"""两 or 二: how a lone 2 is read before the word that it counts.

The whole word decides, not its first character: 分钟 counts minutes (两分钟), 分之 makes a fraction (二分之一); 年
counts years (两年), 年级 numbers them (二年级). What numbers (a class, a floor) keeps 二, what counts takes 两.
"""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_units import COUNTERS

# These count as well, but unlike COUNTERS they do not make an identifier before them a quantity (2008车展).
_ALSO_COUNTED = (
    "[厅房室球卫厨居枚宗档拨伙帮尊扇幕桩摞沓剂圈局员任款晚夜宿席桌缸坛炉屋车船眼拳下胜负平金银铜字国省市县方者岸侧成半箭枪缕瓣"
    "挂拍步杠格颗斗仗炷题关挡头栏会大整例处堵注频波簇餐边梯茬味帖瓢摊捧弯]|地(?![下主块])|代人|等分|把|连[胜败冠]|居室|阳台|车间|平米|孩子|战[全皆连两0-9]|路(?:人马|大军|军|纵队|并进)"
)
_NUMBERED = re.compile(
    "两|钱|月|日|号|楼|十|线|维|项式|季度|世纪|单元|等|拍子|星(?!期)|班(?![倒车岗])|级(?!台阶|阶梯)|度(?:烧伤|创业|空间|房)|时(?!辰)|年(?:级|生(?![意活]))|"
    "手(?:车|房|货|烟|市场|交|平台|书|机|资料|信息|转让|商品|物品|设备|电脑|家具|衣|奢侈品)|把手|房东|道贩子|"
    "次(?:元|方(?!案)|函数|曲[线面]|方程|多项|项|型|根式|不等|污染|创业|加工|开发|感染|供水|转[化移]|利用|分配|回归|革命|电池|世界大战|大战)|"
    "分(?:之|法|音符|频|查找|类|裂|搜索)|元(?:[一二三四1-4]次|论|化|结构|体[系制]|对立|函数|酸|期权|醇)|人(?:转|世界|台|座)|"
    "本(?:院校|大学|线|批|志愿|学校)|期(?:工程|项目|临床|试验|建设|规划|厂房|改造)|路(?:公交|公共汽车|汽车|电车|车)|"
    "类(?:[卡户]|账户|疫苗|医疗|电价)"
)
_COUNTED = re.compile(f"{COUNTERS}|{_ALSO_COUNTED}")
COUNTED_OR_NUMBERED = f"(?:{_NUMBERED.pattern}|{_COUNTED.pattern})"
# 三块二毛, 十点二分: a smaller unit after a larger one.
_SMALLER_UNIT = re.compile("[秒角毛]|分(?!钟)")
_LARGER_UNIT_BEFORE = re.compile("[0-9一二三四五六七八九十百千万半零][块元角毛点时度分刻]$")
# 3栋2单元, 3排2座: part of an address.
_PLACE = re.compile("[座室层号床排栋幢桌组]|单元")
_COORDINATE_BEFORE = re.compile("(?:[东西]经|[南北]纬)$")
_PLACE_BEFORE = re.compile(
    "(?:[0-9一二三四五六七八九十A-Za-z](?:[排栋幢楼层街巷区床弄桌期号]|单元|号楼|号院)|位于|[在住到去上])$"
)
# B2层, G2次列车: a letter and a number are one name.
_NAMED = re.compile("[座室层号床排栋幢桌组次区级类]")
_LETTER_BEFORE = re.compile("(?<![A-Za-z])[A-Za-z]$")
_ORDER_BEFORE = re.compile("第(?:[0-9]+(?:[、和及与或到至]|[-~—–]))?$")  # 第1、2名


def reads_liang(text: str, start: int, end: int) -> bool:
    """Whether a 2 at ``start`` is read 两 before the word at ``end``, which in 2-3个 is the word after the 3."""
    before = text[max(0, start - 6) : start]
    if _ORDER_BEFORE.search(before) or _NUMBERED.match(text, end):
        return False
    if _SMALLER_UNIT.match(text, end) and _LARGER_UNIT_BEFORE.search(before):
        return False
    if text.startswith("度", end) and _COORDINATE_BEFORE.search(before):
        return False
    if _NAMED.match(text, end) and _LETTER_BEFORE.search(before):
        return False
    if _PLACE.match(text, end) and _PLACE_BEFORE.search(before):
        return False
    return bool(_COUNTED.match(text, end))


def is_ordered(text: str, start: int) -> bool:
    """Whether a number at ``start`` is an ordinal: 第2, and the 2 of 第1、2名."""
    return bool(_ORDER_BEFORE.search(text, max(0, start - 8), start))
