"""Scores of voice activity and punctuation, against numbers that were counted by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.cli import main
from funrecipe.errors import DataError, IncompleteRunError
from funrecipe.score.punctuation import ANY, score_punctuation, split_marks
from funrecipe.score.segments import VadErrors, read_segments, score_recordings, score_segments


def test_times_of_miss_and_false_alarm():
    errors = score_segments([(1000, 3000), (5000, 6000)], [(500, 2000), (5500, 7000)], 10_000)
    assert errors == VadErrors(speech_ms=3000, silence_ms=7000, missed_ms=1500, false_alarm_ms=1500)
    assert errors.miss_rate == 0.5 and errors.frame_error_rate == 0.3
    assert errors.cost == pytest.approx(0.75 * 0.5 + 0.25 * 1500 / 7000)


@settings(max_examples=50, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=5),
    found=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=5),
)
def test_times_equal_a_count_of_every_ms(spans, found):
    def active(pairs, t):
        return any(start <= t < start + length for start, length in pairs)

    errors = score_segments([(a, a + n) for a, n in spans], [(a, a + n) for a, n in found], 70)
    pairs = [(active(spans, t), active(found, t)) for t in range(70)]
    assert errors == VadErrors(
        sum(r for r, _ in pairs),
        sum(not r for r, _ in pairs),
        sum(r and not f for r, f in pairs),
        sum(f and not r for r, f in pairs),
    )


def test_a_recording_without_results_is_missed_and_one_without_reference_is_an_error():
    errors = score_recordings({"a": [(0, 1000)]}, {}, {"a": 4000})
    assert errors["a"] == VadErrors(1000, 3000, 1000, 0)
    with pytest.raises(DataError, match="no reference for 'b'"):
        score_recordings({"a": []}, {"b": []})


def test_no_rate_is_printed_while_a_recording_has_no_results(tmp_path, capsys):
    ref, hyp, rttm = tmp_path / "ref", tmp_path / "hyp", tmp_path / "hyp.rttm"
    ref.write_text("a [[0, 1000]]\nb []\n")
    hyp.write_text("a [[0, 1000]]\n")
    assert main(["score_vad", "--ref", str(ref), "--hyp", str(hyp)]) == 4
    printed = capsys.readouterr()
    assert "miss" not in printed.out and "no results for 'b' (1 of 2 recordings)" in printed.err
    hyp.write_text("a [[0, 1000]]\nb []\n")
    rttm.write_text("SPEAKER a 1 0.0 1.0 <NA> <NA> x <NA> <NA>\n")
    for results in (hyp, rttm):
        assert main(["score_vad", "--ref", str(ref), "--hyp", str(results)]) == 0
        assert "miss 0.00 %" in capsys.readouterr().out


def test_segments_are_read_from_both_kinds_of_files(tmp_path):
    (tmp_path / "text").write_text("a [[70, 2340], [2620, 6200]]\nb []\n")
    assert read_segments(tmp_path / "text") == {"a": [(70, 2340), (2620, 6200)], "b": []}
    (tmp_path / "x.rttm").write_text("SPEAKER a 1 0.07 2.27 <NA> <NA> s <NA> <NA>\n")
    assert read_segments(tmp_path / "x.rttm") == {"a": [(70, 2340)]}
    for bad in ("70 2340", "[[70]]", "[[70, 1e999]]", "[[NaN, 70]]", "3", "[[70, 23"):
        (tmp_path / "bad").write_text(f"a {bad}\n")
        with pytest.raises(DataError, match="is not a list of segments"):
            read_segments(tmp_path / "bad")
    for bad in ("[[2340, 70]]", "[[0, 5], [-3, 70]]"):  # it would count as no speech, or as less
        (tmp_path / "bad").write_text(f"a {bad}\n")
        with pytest.raises(DataError, match="is not a segment"):
            read_segments(tmp_path / "bad")


def test_words_and_their_marks():
    assert split_marks("今天，OK. 3.5元?") == [("今", ""), ("天", "，"), ("ok", "。"), ("3.5", ""), ("元", "？")]
    assert split_marks("") == [] and split_marks("，") == []


def test_precision_and_recall_of_every_mark():
    reference = {"a": "今天很好，我们走。你呢？"}
    score = score_punctuation(reference, {"a": "今天很好。我们，走。你呢？"})
    counts = {mark: (c.hits, c.found, c.wanted) for mark, c in score.marks.items()}
    assert counts == {"，": (0, 1, 1), "。": (1, 2, 1), "？": (1, 1, 1), ANY: (2, 4, 3)}
    assert score.marks["。"].precision == 0.5 and score.marks["。"].recall == 1.0
    assert score.marks[ANY].f1 == pytest.approx(4 / 7)
    assert score.unmatched_words == 0


def test_marks_are_compared_at_words_that_both_have():
    score = score_punctuation({"a": "一二，三四。"}, {"a": "一二，五四。"})
    assert (score.marks[ANY].hits, score.unmatched_words, score.words) == (2, 1, 4)


def test_texts_have_to_be_the_same_list():
    with pytest.raises(IncompleteRunError, match="no results for 'b'"):
        score_punctuation({"a": "", "b": ""}, {"a": ""})
    with pytest.raises(DataError, match="no reference for 'c'"):
        score_punctuation({"a": ""}, {"a": "", "c": ""})


@pytest.mark.parametrize(("verb", "said"), [("score_vad", "no time to score"), ("score_punc", "nothing to score")])
def test_nothing_has_no_score(verb, said, tmp_path, capsys):
    (tmp_path / "list").write_text("a \nb \n")
    arguments = [verb, "--ref", tmp_path / "list", "--hyp", tmp_path / "list", "--out", tmp_path / "scores.json"]
    assert main([*map(str, arguments)]) == 3
    printed = capsys.readouterr()
    assert not printed.out and said in printed.err and "do: " in printed.err
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(("verb", "one", "other"), [("score_vad", "[[0, 9]]", "[]"), ("score_punc", "好。", "你")])
def test_a_baseline_that_cannot_be_compared_leaves_no_score(verb, one, other, tmp_path, capsys):
    (tmp_path / "ref").write_text(f"a {one}\nb {other}\n")
    (tmp_path / "less").write_text(f"a {one}\n")
    given = [verb, "--ref", tmp_path / "ref", "--hyp", tmp_path / "ref", "--out", tmp_path / "scores.json"]
    assert main([*map(str, given), "--baseline", str(tmp_path / "less")]) == 4
    printed = capsys.readouterr()
    assert not printed.out and f"at: {tmp_path}/less" in printed.err and "do: " in printed.err
    assert not (tmp_path / "scores.json").exists()
