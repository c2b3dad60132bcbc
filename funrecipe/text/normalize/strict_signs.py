"""Signs that are spoken although no number or letter precedes them: 体温>38℃, ≥18岁, 甲>乙, 互联网+教育.

What only looks like a comparison is not a sign: arrows (->, =>, >>) and brackets (<b>, <红楼梦>).
"""

from __future__ import annotations

import re

from funrecipe.text.normalize.strict_numbers import THOUSANDS

COMPARISONS = {
    "=": "等于", "==": "等于", "<": "小于", ">": "大于", "≤": "小于等于", "<=": "小于等于", "=<": "小于等于",
    "≥": "大于等于", ">=": "大于等于", "≠": "不等于", "!=": "不等于", "≈": "约等于",
}  # fmt: skip
_SIGN = r"(?<![-<>=~!])(?:<=|=<|>=|!=|==|[<>=≤≥≠≈])(?![<>=])"
_NUMBER = r"[-+±]?[$¥€£]?\.?[0-9]"
COMPARISON = (
    rf"(?P<compare>{_SIGN}(?={_NUMBER}|[-+±]?√)|(?<=[一-鿿A-Za-z0-9)%°²³]){_SIGN}(?=[一-鿿])|"
    rf"(?<=[一-鿿)]){_SIGN}(?=[A-Za-z(]))"
)
# An operation on a quantity that has a name: 数量×3, 互联网+教育; in an equation also 收入-成本.
OPERATION = (
    r"(?P<operation>(?<=[一-鿿)])[×÷](?=\.?[0-9])|^[×÷](?=\.?[0-9])|(?<=[0-9])[×÷](?=[一-鿿])|"
    r"(?<=[一-鿿)])[-×÷/](?=[一-鿿(])|(?<=[一-鿿)])\+(?=[一-鿿A-Za-z(])|(?<=[A-Za-z])\+(?=[一-鿿]))"
)
_OPERATIONS = {"×": "乘", "÷": "除以", "+": "加", "-": "减", "/": "除以"}

# <b>, </b>, <br/>, <a href="x">, <红楼梦>, <1>: a closed bracket that begins no comparison.
_BRACKET = re.compile(
    rf"<(/?[A-Za-z][^<>]{{0,60}}|[^<>0-9,，。；、]{{1,30}}|(?:[^<>,，。；、]|{THOUSANDS}){{1,30}}(?=>[^0-9=]|>$))>(?!=)"
)
_AFTER_OPERAND = re.compile(r"[0-9A-Za-z)%°]\s*$")


def drop_brackets(text: str) -> str:
    """Without angle brackets around something, so that the remaining < and > are comparisons."""

    def inner(m: re.Match[str]) -> str:
        compares = _AFTER_OPERAND.search(text, max(0, m.start() - 3), m.start()) and not m[1].startswith("/")
        return m[0] if compares else f" {m[1]} "

    return _BRACKET.sub(inner, text) if "<" in text and ">" in text else text


def read_operation(m: re.Match[str]) -> str:
    written = m["operation"]
    text = m.string
    names_beside = not (text[m.start() - 1].isdigit() or text[m.end()].isdigit() or text[m.end()] == ".")
    if written in "-/×" and names_beside and "=" not in text:  # 张×明, 周一-周五, 和/或
        return " "
    return _OPERATIONS[written]
