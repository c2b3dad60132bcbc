import pytest
from hypothesis import given
from hypothesis import strategies as st

from funrecipe.score.tokenize import tokenize


@pytest.mark.parametrize(
    ("unit", "text", "tokens"),
    [
        ("mixed", "我下载了iPhone的 ChatGPT app", ["我", "下", "载", "了", "iPhone", "的", "ChatGPT", "app"]),
        ("mixed", "我 有 62% 的 概 率", ["我", "有", "62%", "的", "概", "率"]),
        ("mixed", "don't worry，好", ["don't", "worry", "，", "好"]),
        ("mixed", "ＡＢ１２啊 カナ 한국", ["ＡＢ１２", "啊", "カ", "ナ", "한", "국"]),
        ("mixed", "𠮷野家 naïve café", ["𠮷", "野", "家", "naïve", "café"]),
        ("mixed", "我\u3000hello\u3000你", ["我", "hello", "你"]),
        ("char", "hi 你 好", ["h", "i", "你", "好"]),
        ("word", "你好 world", ["你好", "world"]),
        ("mixed", "  ", []),
        ("char", "", []),
        ("word", "", []),
    ],
)
def test_units(unit, text, tokens):
    assert list(tokenize(text, unit)) == tokens


@given(st.text(alphabet="我你好，。的"), st.randoms(use_true_random=False))
def test_blanks_between_cjk_never_matter(text, draw):
    spaced = "".join(c + draw.choice(["", " ", "\u3000", "\t "]) for c in text)
    for unit in ("mixed", "char"):
        assert list(tokenize(spaced, unit)) == list(tokenize(text, unit)) == list(text)
