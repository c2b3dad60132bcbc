"""Is one list of segments, or of marks, better than another? Against calculations by hand."""

from __future__ import annotations

import pytest

from funrecipe.errors import IncompleteRunError
from funrecipe.score.compare import compare_marks, compare_segments
from funrecipe.score.punctuation import cut_at_marks, without_marks

INTERVAL = "(95 %, paired bootstrap)"


def test_segments() -> None:
    reference = {"a": [(0, 1000)], "b": [(500, 1000)]}
    first = {"a": [(0, 500)], "b": [(500, 1000)]}  # half a second missed of four
    second = {"a": [(0, 1000)], "b": [(250, 1000)]}  # a quarter too much
    said = compare_segments(reference, first, second, {"a": 2000, "b": 2000})
    # Draws of two recordings: a a gives -1000 of 4000, b b 500 of 4000.
    assert said == f"frame error, B - A: -6.25 points [-25.00, +12.50] {INTERVAL}"


def test_recordings_of_unknown_length_end_with_the_last_segment_of_any_side() -> None:
    said = compare_segments({"a": [(0, 1000)]}, {"a": [(0, 2000)]}, {"a": [(0, 1000)]}, {})
    assert said == f"frame error, B - A: -50.00 points [-50.00, -50.00] {INTERVAL}"


def test_marks() -> None:
    reference = {"a": "我来了。你呢？", "b": "好。"}
    said = compare_marks(reference, {"a": "我来了，你呢", "b": "好。"}, {"a": "我来了。你呢？", "b": "好"})
    # A: a comma too many, a period and a question mark too few. B: a period too few. Six words.
    assert said == f"wrong marks per word, B - A: -33.33 points [-60.00, +100.00] {INTERVAL}"
    with pytest.raises(IncompleteRunError, match="no results for 'b'"):
        compare_marks(reference, {"a": ""}, reference)


def test_marks_are_cut_out_but_not_of_numbers() -> None:
    assert cut_at_marks("今天，3.5 ok.") == [("今天", "，"), ("3.5 ok", "。"), ("", "")]
    assert without_marks("今天，3.5 ok. 好！？") == "今天 3.5 ok  好"
