"""Text to ids: characters, words, pieces of the spelling dictionary."""

import pytest

from funrecipe.errors import DataError
from funrecipe.text.tokenizer import Tokenizer, read_seg_dict

TOKENS = ["<blank>", "<s>", "</s>", "你", "好", "3", "he@@", "llo", "ok", "a", "b", "<unk>"]


def test_chinese_needs_no_blanks():
    tokenizer = Tokenizer(TOKENS)
    assert tokenizer.encode("你好 3") == tokenizer.encode("你 好 3") == [3, 4, 5]
    assert tokenizer.tokens_of([3, 4]) == ["你", "好"]


def test_words_of_the_dictionary_are_spelled_in_any_case():
    tokenizer = Tokenizer(TOKENS, {"hello": ["he@@", "llo"]})
    assert tokenizer.tokenize("Hello 你好") == ["he@@", "llo", "你", "好"]


def test_a_word_that_is_a_token_is_taken_whole():
    assert Tokenizer(TOKENS).tokenize("OK ab") == ["ok", "a", "b"]


def test_unknown_words_with_a_dictionary_become_unk():
    tokenizer = Tokenizer(TOKENS, {"hello": ["he@@", "llo"]})
    assert tokenizer.encode("zebra") == [11]
    assert tokenizer.encode("你hello好") == [3, 6, 7, 4]


def test_missing_names_what_the_vocabulary_lacks():
    assert Tokenizer(TOKENS).missing("你们好") == ["们"]
    assert Tokenizer(TOKENS).encode("你们") == [3, 11]


def test_dictionary_file(tmp_path):
    (tmp_path / "seg_dict").write_text("hello he@@ llo\n\n你 你\r\n", encoding="utf-8")
    assert read_seg_dict(tmp_path / "seg_dict") == {"hello": ["he@@", "llo"], "你": ["你"]}


def test_a_word_without_pieces_is_named(tmp_path):
    (tmp_path / "seg_dict").write_text("a a\nhello\n")
    with pytest.raises(DataError, match="seg_dict:2"):
        read_seg_dict(tmp_path / "seg_dict")
