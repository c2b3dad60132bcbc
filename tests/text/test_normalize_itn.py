"""The itn profile: written and spoken forms of one thing become one string."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.text.normalize import get_profile
from funrecipe.text.normalize.itn_numbers import write_cardinal
from funrecipe.text.normalize.strict_numbers import read_cardinal

DATA = Path(__file__).resolve().parents[1] / "data" / "textnorm"
itn = get_profile("itn").normalize


@pytest.mark.parametrize(
    "written, spoken",
    [
        ("50%", "百分之五十"),
        ("30~41%", "百分之三十到四十一"),
        ("2023/10/01", "二零二三年十月一日"),
        ("10:30", "十点半"),
        ("8:05p.m.", "下午八点零五分"),
        ("¥3380.58", "三千三百八十元五角八分"),
        ("A$13.5", "十三点五澳元"),
        ("¥123.45", "一百二十三块四毛五"),
        ("¥20.5", "二十块零五毛"),
        ("¥3.05", "三块零五"),
        ("¥10.05", "十元零五分钱"),
        ("¥3.5", "三块五毛钱"),
        ("¥10.5三个", "十块五毛三个"),
        ("10km/h", "每小时十公里"),
        ("25kg", "二十五千克"),
        ("-5°C", "零下五度"),
        ("1/3", "三分之一"),
        ("-1+2", "负一加二"),
        ("3:1", "三比一"),
        ("3~5万", "三五万"),
        ("320万5000", "三百二十万五千"),
        ("127.0.0.1", "幺二七点零点零点幺"),
        ("34020319370101051X", "三四零二零三一九三七零幺零幺零五幺X"),
        ("GPT4", "GPT四"),
    ],
)
def test_both_ways_of_writing_become_one(written: str, spoken: str) -> None:
    assert itn(spoken) == written
    assert itn(itn(spoken)) == written


@pytest.mark.parametrize("text", ["一共", "两年后", "三七二十一", "十分高兴", "十几万", "一块去", "万一", "三五成群"])
def test_words_that_only_look_like_numbers_stay(text: str) -> None:
    assert itn(text) == text


def test_public_cases() -> None:
    """The rows follow four option sets that contradict each other; no profile can satisfy all of them."""

    def fold(text: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFKC", text).upper() if c.isalnum())

    with open(DATA / "cases.tsv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if "/itn/" in row[0]]
    right = sum(fold(itn(text)) == fold(expected) for _, text, expected in rows)
    assert len(rows) == 146 and right >= 0.85 * len(rows)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10**12))
def test_writing_undoes_reading(number: int) -> None:
    written = write_cardinal(read_cardinal(str(number)))
    value = 0
    for unit, size in (("兆", 10**12), ("亿", 10**8), ("万", 10**4)):
        high, found, written = written.rpartition(unit)
        value += int(high) * size if found else 0
    assert value + int(written or 0) == number
