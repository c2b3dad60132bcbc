"""Units of measure, currencies and measure words, with their spoken Chinese names."""

from __future__ import annotations

import re

_SI_METRE = {"k": "公里", "": "米", "d": "分米", "c": "厘米", "m": "毫米", "μ": "微米", "n": "纳米"}

# Case counts: mW is not MW. Where no other unit has the same letters, any case is accepted (see unit_name).
UNITS: dict[str, str] = {
    **{f"{prefix}m": name for prefix, name in _SI_METRE.items()},
    **{f"{p}m{e}": f"平方{n}" for p, n in (_SI_METRE | {"k": "千米"}).items() for e in ("²", "2", "^2")},
    **{f"{p}m{e}": f"立方{n}" for p, n in (_SI_METRE | {"k": "千米"}).items() for e in ("³", "3", "^3")},
    "kg": "千克", "g": "克", "mg": "毫克", "μg": "微克", "ug": "微克", "t": "吨", "um": "微米",
    "l": "升", "L": "升", "ml": "毫升", "dl": "分升", "cl": "厘升", "μl": "微升", "cc": "毫升",
    "h": "小时", "hr": "小时", "hrs": "小时", "min": "分钟", "mins": "分钟", "s": "秒", "sec": "秒", "ms": "毫秒",
    "μs": "微秒", "us": "微秒", "ns": "纳秒",
    "°C": "摄氏度", "°c": "摄氏度", "°F": "华氏度", "°f": "华氏度", "°": "度",
    "Hz": "赫兹", "kHz": "千赫兹", "MHz": "兆赫兹", "GHz": "吉赫兹",
    "V": "伏", "v": "伏", "kV": "千伏", "mV": "毫伏", "W": "瓦", "kW": "千瓦", "MW": "兆瓦", "mW": "毫瓦", "GW": "吉瓦",
    "kWh": "千瓦时", "Wh": "瓦时", "mA": "毫安", "mAh": "毫安时", "Ah": "安时", "Ω": "欧姆", "kΩ": "千欧",
    "Pa": "帕", "kPa": "千帕", "MPa": "兆帕", "hPa": "百帕", "mmHg": "毫米汞柱", "kJ": "千焦", "J": "焦耳",
    "cal": "卡", "kcal": "千卡", "dB": "分贝", "mol": "摩尔", "mmol": "毫摩尔", "nit": "尼特",
    "KB": "KB", "MB": "MB", "GB": "GB", "TB": "TB", "rad": "弧度", "bar": "巴",
    "ft": "英尺", "inch": "英寸", "in": "英寸", "yd": "码", "mi": "英里", "lb": "磅", "lbs": "磅", "oz": "盎司",
    "mile": "英里", "miles": "英里", "ha": "公顷", "mph": "英里每小时", "kph": "公里每小时", "rpm": "转每分",
    "fps": "帧每秒", "px": "像素", "kbps": "千比特每秒", "gal": "加仑", "kn": "节", "hp": "马力",
}  # fmt: skip
_FOLDED: dict[str, str] = {}
for _unit, _name in UNITS.items():
    if len(_unit) > 1:
        _FOLDED[_unit.lower()] = "" if _unit.lower() in _FOLDED else _name

# What may follow the slash of a rate (km/h, 元/斤).
PER: dict[str, str] = {
    "h": "小时", "s": "秒", "min": "分钟", "d": "天", "hr": "小时", "day": "天",
    "kg": "千克", "g": "克", "l": "升", "L": "升", "m": "米", "km": "公里", "ml": "毫升", "dl": "分升",
    "m²": "平方米", "m2": "平方米", "m³": "立方米", "m3": "立方米", "cm³": "立方厘米", "cm3": "立方厘米",
    "cm²": "平方厘米", "cm2": "平方厘米", "km²": "平方千米", "s²": "二次方秒", "s^2": "二次方秒",
    "kWh": "千瓦时", "t": "吨", "mL": "毫升", "dL": "分升",
}  # fmt: skip
PER_HANZI = (
    "平方米|立方米|平方公里|公里|千米|千克|公斤|小时|分钟|毫升|星期|人次|千瓦时|米|斤|克|吨|升|月|年|天|日|周|季度|时|分|秒|"
    "人|个|只|头|件|条|张|次|台|套|户|亩|公顷|度|盒|瓶|包|袋|箱|份|杯|辆|间|位|本|课时|股|桶"
)

# Before the number; longest first in the pattern below.
CURRENCY_SIGNS: dict[str, str] = {
    "$": "美元", "US$": "美元", "HK$": "港元", "NT$": "新台币", "A$": "澳元", "AU$": "澳元",
    "C$": "加元", "CA$": "加元", "S$": "新加坡元", "NZ$": "新西兰元", "R$": "巴西雷亚尔",
    "MOP$": "澳门元", "¥": "元", "CN¥": "元", "JP¥": "日元",
    "€": "欧元", "£": "英镑", "₩": "韩元", "₹": "印度卢比", "₽": "卢布", "฿": "泰铢", "₫": "越南盾", "₱": "比索",
    "₺": "里拉", "₴": "格里夫纳", "₪": "谢克尔", "₦": "奈拉", "₵": "塞地", "₡": "科朗", "₲": "瓜拉尼", "₭": "基普",
    "₮": "图格里克", "₸": "坚戈", "₿": "比特币",
}  # fmt: skip
CURRENCY_CODES: dict[str, str] = {
    "USD": "美元", "CNY": "人民币", "RMB": "人民币", "EUR": "欧元", "GBP": "英镑", "JPY": "日元", "HKD": "港元",
    "TWD": "新台币", "KRW": "韩元", "AUD": "澳元", "CAD": "加元", "SGD": "新加坡元", "CHF": "瑞士法郎",
    "NZD": "新西兰元",
    "THB": "泰铢", "INR": "印度卢比", "RUB": "卢布", "MYR": "林吉特", "PHP": "比索", "IDR": "印尼盾", "VND": "越南盾",
    "SEK": "瑞典克朗", "NOK": "挪威克朗", "DKK": "丹麦克朗", "BRL": "巴西雷亚尔", "MOP": "澳门元", "ZAR": "南非兰特",
    "TRY": "里拉", "MXN": "墨西哥比索", "AED": "迪拉姆", "SAR": "里亚尔", "PLN": "兹罗提", "BTC": "比特币",
}  # fmt: skip

# A number before one of these counts or numbers something, so it is read as a quantity.
COUNTERS = (
    "平方|立方|公里|千米|厘米|毫米|分米|微米|纳米|英里|英尺|英寸|海里|公斤|千克|毫克|微克|公顷|毫升|小时|分钟|秒钟|钟头|刻钟|摄氏|华氏|"
    "美元|欧元|英镑|日元|韩元|港元|港币|澳元|加元|卢布|泰铢|法郎|人民币|美金|新台币|台币|卢比|比索|里拉|马克|美分|"
    "星期|世纪|季度|学年|年级|人次|千瓦|兆瓦|赫兹|像素|字节|来[个人次岁年天块元]|"
    "网(?!站)|客(?!服|户端)|来(?!电|自|到)|"  # 12306网站, 10086客服
    "[匹张座回场尾条个首阙阵炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣贯扎捆刀令打手罗队单双对口头脚板跳枝件贴针根线管名位身堂课本页家户层丝毫"
    "钱斤铢石寸尺丈里常铺程撮勺合升斗盘碗碟叠桶笼盆盒杯斛锅篮罐瓶壶盏箩箱袋钵季刻周天秒旬岁辈丸泡粒幢堆道面片块元角毛分"
    "米克吨人次倍步番株架艘台套部篇句段章节项种类样份份批笔组栋间亩册封幅股则起轮届期集门副顿趟遍声滴串把包排列束团缕所"
    "站楼班级号度码点月日年时吋折票字音词卷行瓦伏安焦卡帧兆万亿千百十几多余]"
)

_numbers_first = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
UNIT_PATTERN = f"(?:(?i:{_numbers_first}))(?![A-Za-z0-9])"
PER_PATTERN = "|".join(map(re.escape, sorted(PER, key=len, reverse=True)))
SIGN_PATTERN = "|".join(map(re.escape, sorted(CURRENCY_SIGNS, key=len, reverse=True)))
CODE_PATTERN = "|".join(CURRENCY_CODES)


def unit_name(written: str) -> str | None:
    """Chinese name of a unit as written; in another case only where that is not ambiguous (KG, but not Mw)."""
    return UNITS.get(written) or _FOLDED.get(written.lower())
