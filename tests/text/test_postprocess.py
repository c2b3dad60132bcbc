"""Rules of tokens to words beyond the golden cases, and invariants over arbitrary tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funrecipe.text.postprocess import postprocess


@pytest.mark.parametrize(
    "tokens,words",
    [
        (["i", "t", "is"], ["IT", "is"]),
        (["用", "c", "p", "u", "算"], ["用", "CPU", "算"]),
        (["he@@", "llo", "<unk>", "世"], ["hello", "世"]),
        (["llo@@"], []),
        (["a", "今", "b"], ["a", "今", "b"]),
        (["a@@", "b", "c", "d"], ["ab", "CD"]),
        ([], []),
        (["<s>", "</s>", "<OOV>"], []),
    ],
)
def test_words(tokens, words):
    assert postprocess(tokens).words == words


def test_time_stamps_of_merged_tokens_span_them():
    times = [[0, 100], [100, 150], [200, 300], [300, 380], [400, 500]]
    timed = postprocess(["he@@", "llo", "u", "s", "今"], times)
    assert timed.words == ["hello", "US", "今"]
    assert timed.timestamp_ms == [[0, 150], [200, 380], [400, 500]]


def test_time_stamps_may_cover_special_tokens():
    timed = postprocess(["你", "<unk>", "好"], [[0, 1], [1, 2], [2, 3]])
    assert timed.timestamp_ms == [[0, 1], [2, 3]]
    assert postprocess(["你", "<unk>", "好"], [[0, 1], [2, 3]]).timestamp_ms == [[0, 1], [2, 3]]


def test_punctuation_keeps_its_time_where_funasr_fails():
    assert postprocess(["你", "，", "好"], [[0, 1], [1, 2], [2, 3]]).timestamp_ms == [[0, 1], [1, 2], [2, 3]]


def test_another_number_of_time_stamps_is_refused():
    with pytest.raises(ValueError, match="1 time stamps for 2 tokens"):
        postprocess(["你", "好"], [[0, 1]])


WORDS = ["今", "天", "3", "a", "b", "hello", "llo", "it's", "<unk>", "</s>"]


@given(st.lists(st.sampled_from(WORDS)))
def test_whole_tokens_keep_every_character_but_special_ones(tokens):
    kept = "".join(token for token in tokens if not token.startswith("<"))
    assert "".join(postprocess(tokens).words).lower() == kept


@given(st.lists(st.sampled_from([*WORDS, "he@@"])))
def test_one_time_stamp_per_word(tokens):
    timed = postprocess(tokens, [[10 * i, 10 * i + 10] for i in range(len(tokens))])
    assert timed.words == postprocess(tokens).words
    assert len(timed.timestamp_ms) == len(timed.words)
    assert all(start < end for start, end in timed.timestamp_ms)
