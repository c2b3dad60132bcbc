"""Families of readings: ranges and dates, 两 and 二, signs before numbers, approximate and per-unit amounts.

``families.tsv``: profile, input, accepted readings separated by ``|``. The readings follow the rules of Mandarin: 两
counts and 二 numbers, a season is two years, a range keeps its measure word, an amount per unit does not swallow the
unit's 一.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.text.normalize import get_profile

DATA = Path(__file__).resolve().parents[1] / "data" / "textnorm" / "families.tsv"
strict = get_profile("strict").normalize
itn = get_profile("itn").normalize


def _rows() -> list[tuple[str, str, str]]:
    with open(DATA, encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(profile, text, accepted) for profile, text, accepted in rows]


@pytest.mark.parametrize("profile, text, accepted", _rows())
def test_each_member_of_a_family_is_read_as_people_say_it(profile: str, text: str, accepted: str) -> None:
    assert get_profile(profile).normalize(text) in accepted.split("|")


COUNTING = ["个", "天", "分钟", "小时", "公里", "次", "岁", "间", "厅", "球", "周", "倍", "万人", "kg", "元"]
COMPARISONS = [(">", "大于"), ("<", "小于"), ("≥", "大于等于"), ("≤", "小于等于"), ("=", "等于"), ("≈", "约等于")]
NUMBERING = ["年级", "号", "楼", "月", "季度", "线城市", "单元", "班", "等奖"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(COUNTING), st.sampled_from(["-", "~", "～", "—", "到", " - "]), st.integers(3, 99))
def test_two_at_the_start_of_a_range_is_read_as_before_the_measure_word_alone(unit: str, to: str, last: int) -> None:
    alone = strict(f"2{unit}")
    assert alone.startswith("两")
    assert strict(f"2{to}{last}{unit}") == f"两到{strict(f'{last}{unit}')}"


@pytest.mark.parametrize("word", NUMBERING)
def test_two_before_a_word_that_numbers_stays_er(word: str) -> None:
    assert strict(f"2{word}").startswith("二")
    assert strict(f"2-3{word}").startswith("二到三")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["体温", "", "，", "（", "年龄 "]),
    st.sampled_from(COMPARISONS),
    st.sampled_from(["3", "2个", "38.5℃", "50%", "¥100"]),
)
def test_a_comparison_is_spoken_whatever_stands_before_it(before: str, sign: tuple[str, str], amount: str) -> None:
    assert strict(f"{before}{sign[0]}{amount}") == f"{strict(before)}{sign[1]}{strict(amount)}"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["三千", "三百", "两万", "一百二", "五千五", "七八十", "一百二三十"]),
    st.sampled_from(["个月", "顿", "天", "年", "斤", "次", "小时", "平米", "位"]),
)
def test_an_amount_per_unit_is_no_longer_number(amount: str, unit: str) -> None:
    assert itn(f"{amount}一{unit}") == f"{itn(amount)}一{unit}"
    assert itn(f"{amount}一{unit}") != itn(f"{amount}一百{unit}")


@settings(max_examples=300, deadline=None)
@given(st.text("零一二三四五六七八九两十百千万亿点个月年块元岁斤到比加分之负第几半米克", max_size=12))
def test_any_sequence_of_numerals_can_be_written(text: str) -> None:
    assert not set(itn(text)) & {"\x00", "\x01"}
