"""Tags of rich text drawn as emoji (cases of FunASR 1.4.16), taken away, and blanks for text lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from funrecipe.text.rich import draw_tags, spaced, strip_tags, tag_name

CASES = json.loads((Path(__file__).parents[1] / "data/parity/sensevoice_small/texts.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES["rich_cases"], ids=lambda case: case["in"])
def test_tags_are_drawn_as_funasr_draws_them(case: dict[str, str]) -> None:
    assert draw_tags(case["in"]) == case["out"]


def test_of_three_equal_events_in_a_row_the_third_is_drawn_again() -> None:
    part = "<|zh|><|NEUTRAL|><|BGM|><|woitn|>"
    assert draw_tags(f"{part}一{part}二{part}三{part}四") == "🎼一二🎼三四"


def test_known_tags_are_stripped_and_unknown_ones_stay() -> None:
    assert strip_tags("<|zh|><|NEUTRAL|><|Speech|><|woitn|>你 好 <|x|>") == "你 好 <|x|>"


@pytest.mark.parametrize(
    "text, expected",
    [("打开 wifi 3个。", "打 开 wifi 3 个 。"), ("안녕 하세요.", "안녕 하세요."), ("これは20円", "こ れ は 20 円")],
)
def test_blanks_stand_around_characters_that_are_words(text: str, expected: str) -> None:
    assert spaced(text) == expected


def test_a_tag_has_a_name() -> None:
    assert (tag_name("<|yue|>"), tag_name("yue")) == ("yue", None)
