"""Times against a CTM, with numbers that were counted by hand."""

import json

import pytest

from funrecipe.cli import main
from funrecipe.errors import DataError, IncompleteRunError
from funrecipe.score.rttm import TimedToken, read_ctm
from funrecipe.score.timestamps import TimeErrors, score_timestamps

CTM = ";; a comment\na 1 0.50 0.25 今\na 1 0.75 0.25 天\na 1 1.20 0.30 OK\nb 1 0 1.5 好 0.9\n"


def score(arguments, capsys):
    code = main(["score_timestamps", *map(str, arguments)])
    return code, capsys.readouterr()


def test_errors_are_those_of_tokens_that_both_sides_have():
    reference = {"a": [TimedToken("今", 500, 750), TimedToken("天", 750, 1000), TimedToken("OK", 1200, 1500)]}
    found = {"a": [TimedToken("今", 520, 740), TimedToken("田", 740, 990), TimedToken("ok", 1160, 1500)]}
    errors = score_timestamps(reference, found)["a"]
    assert errors == TimeErrors(2, 20 + 40, 10 + 0, unmatched=1, extra=1)
    assert (errors.start_ms, errors.end_ms, errors.mean_ms) == (30.0, 5.0, 17.5)
    assert errors.lines()[1] == "2 of 3 tokens compared; 1 not in the results, 1 only there"


def test_a_token_that_was_heard_twice_is_extra():
    reference, found = (
        [TimedToken(t, 100 * i, 100 * i + 50) for i, t in enumerate(text)] for text in ("一二三", "一二二三")
    )
    errors = score_timestamps({"a": reference}, {"a": found})["a"]
    assert (errors.matched, errors.unmatched, errors.extra) == (3, 0, 1)


def test_a_ctm_and_a_folder_of_results_are_read(tmp_path, capsys):
    (tmp_path / "ref.ctm").write_text(CTM)
    assert read_ctm(tmp_path / "ref.ctm")["a"][2] == TimedToken("OK", 1200, 1500)
    results = tmp_path / "1best_recog"
    results.mkdir()
    (results / "token").write_text("a 今 天 o@@ k\nb 好\n")
    (results / "text").write_text("a 今 天 ok\nb 好\n")  # times of a, as of a recording, are those of its words
    (results / "timestamp").write_text("a [[510, 750], [750, 1000], [1200, 1470]]\nb [[0, 1500]]\n")
    code, printed = score(["--ref", tmp_path / "ref.ctm", "--hyp", results, "--out", tmp_path / "out.json"], capsys)
    assert code == 0
    assert printed.out.startswith("mean absolute error 5.0 ms (starts 2.5 ms, ends 7.5 ms)\n4 of 4 tokens compared")
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["mean_ms"], written["matched"], written["recordings"]["b"]["mean_ms"]) == (5.0, 4, 0.0)


def test_no_error_is_printed_while_a_recording_is_missing_or_nothing_agrees(tmp_path, capsys):
    reference, hypothesis = tmp_path / "ref", tmp_path / "hyp"
    reference.write_text(CTM)
    hypothesis.write_text("a 1 0.5 0.25 今\n")
    code, printed = score(["--ref", reference, "--hyp", hypothesis], capsys)
    assert (code, printed.out) == (4, "") and "no results for 'b' (1 of 2 recordings)" in printed.err
    with pytest.raises(DataError, match="no reference for 'c'"):
        score_timestamps({"a": []}, {"a": [], "c": []})
    with pytest.raises(DataError, match="no token of the results is in the reference"):
        score_timestamps({"a": [TimedToken("一", 0, 1)]}, {"a": [TimedToken("二", 0, 1)]})
    with pytest.raises(IncompleteRunError):
        score_timestamps({"a": []}, {})


@pytest.mark.parametrize(
    ("line", "what"),
    [("a 1 0.5 好", "a line has 4 fields"), ("a 1 x 0.5 好", "'x' is not a time"), ("", "no line of a CTM")],
)
def test_lines_that_are_no_ctm_are_named(tmp_path, line, what):
    (tmp_path / "x").write_text(f"{line}\n")
    with pytest.raises(DataError, match=what):
        read_ctm(tmp_path / "x")


def test_a_number_of_times_that_fits_nothing_is_an_error(tmp_path, capsys):
    (tmp_path / "ref").write_text(CTM)
    for name, line in (("token", "a 今 天"), ("text", "a 今 天"), ("timestamp", "a [[0, 1]]")):
        (tmp_path / name).write_text(f"{line}\n")
    code, printed = score(["--ref", tmp_path / "ref", "--hyp", tmp_path], capsys)
    assert code == 3 and "1 times for 2 tokens and 2 words" in printed.err


@pytest.mark.parametrize("times", ["[[510, 7", "[[510]]", "[510, 750]", '[["x", 750]]', "[[NaN, 750]]", "3", "x"])
def test_times_that_cannot_be_read_are_named(times, tmp_path, capsys):
    (tmp_path / "ref.ctm").write_text("a 1 0.5 0.25 今\n")
    for name, value in (("token", "今"), ("text", "今"), ("timestamp", times)):
        (tmp_path / name).write_text(f"a {value}\n")
    code, printed = score(["--ref", tmp_path / "ref.ctm", "--hyp", tmp_path], capsys)
    assert (code, printed.out) == (3, "") and f"at: {tmp_path / 'timestamp'}: a" in printed.err
