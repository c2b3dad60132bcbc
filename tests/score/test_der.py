"""Diarization error rate: worked by hand, against pyannote.metrics (recorded), against NIST's md-eval where it is."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from funrecipe.cli import main
from funrecipe.errors import DataError, UsageError
from funrecipe.score.der import DiarizationErrors, diarization_errors, score_diarization
from funrecipe.score.rttm import SpeakerTurn, read_ctm, read_rttm, read_uem, write_rttm

RECORDED = json.loads((Path(__file__).parents[1] / "data/speaker/der.json").read_text())  # by pyannote.metrics 4.2.0
MD_EVAL = "/usr/lib/sctk/bin/md-eval.pl"


def turns(*rows):
    return [SpeakerTurn(start_s, end_s, speaker) for start_s, end_s, speaker in rows]


def seconds(errors):
    return (errors.speech_s, errors.missed_s, errors.false_alarm_s, errors.confused_s)


@pytest.mark.parametrize(
    ("ref", "hyp", "expected"),
    [
        # other names, same speakers
        ([(0, 10, "a"), (10, 20, "b")], [(0, 10, "y"), (10, 20, "x")], (20, 0, 0, 0)),
        # one speaker where there are two: the shorter one is confused
        ([(0, 10, "a"), (10, 16, "b")], [(0, 16, "x")], (16, 0, 0, 6)),
        # 2 s missed at the end, 1 s invented before
        ([(1, 11, "a")], [(0, 9, "x")], (10, 2, 1, 0)),
        # two speak at once, one is found
        ([(0, 10, "a"), (4, 6, "b")], [(0, 10, "x")], (12, 2, 0, 0)),
        # a speaker overlaps with itself: counted once
        ([(0, 6, "a"), (4, 10, "a")], [(0, 10, "x")], (10, 0, 0, 0)),
        # the pairing is the best for all: x with b although x and a meet longest
        ([(0, 10, "a"), (10, 19, "b")], [(0, 1, "y"), (1, 10, "x"), (10, 19, "x")], (19, 0, 0, 9)),
        ([], [(0, 3, "x")], (0, 0, 3, 0)),
        ([(0, 3, "a")], [], (3, 3, 0, 0)),
        ([], [], (0, 0, 0, 0)),
    ],
)
def test_cases_worked_by_hand(ref, hyp, expected):
    found = seconds(diarization_errors(turns(*ref), turns(*hyp), collar_s=0))
    assert found == pytest.approx(expected)


def test_the_collar_takes_time_away_on_both_sides_of_a_reference_boundary():
    ref, hyp = turns((1, 5, "a"), (5, 9, "b")), turns((1, 5.5, "x"), (5.5, 9.5, "y"))
    assert seconds(diarization_errors(ref, hyp, collar_s=0)) == pytest.approx((8, 0, 0.5, 0.5))
    # not scored: 0.8-1.2, 4.8-5.2, 8.8-9.2
    assert seconds(diarization_errors(ref, hyp, collar_s=0.2)) == pytest.approx((7.2, 0, 0.3, 0.3))
    assert seconds(diarization_errors(ref, hyp, collar_s=0.5)) == pytest.approx((6, 0, 0, 0))


def test_overlapping_speech_can_be_left_out():
    ref, hyp = turns((0, 10, "a"), (4, 6, "b")), turns((0, 10, "x"))
    assert seconds(diarization_errors(ref, hyp, collar_s=0, ignore_overlap=True)) == pytest.approx((8, 0, 0, 0))


def test_only_the_parts_of_the_uem_are_scored():
    ref, hyp = turns((0, 10, "a")), turns((5, 20, "x"))
    assert seconds(diarization_errors(ref, hyp, collar_s=0)) == pytest.approx((10, 5, 10, 0))
    assert seconds(diarization_errors(ref, hyp, parts=[(4, 6), (11, 12)], collar_s=0)) == pytest.approx((2, 1, 1, 0))


@pytest.mark.parametrize("row", RECORDED)
def test_the_numbers_are_those_of_pyannote(row):
    found = diarization_errors(
        turns(*row["ref"]), turns(*row["hyp"]), collar_s=row["collar_s"], ignore_overlap=row["ignore_overlap"]
    )
    expected = [row[name] for name in ("speech_s", "missed_s", "false_alarm_s", "confused_s")]
    assert seconds(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.skipif(not shutil.which(MD_EVAL), reason="no md-eval: apt-get install sctk")
@pytest.mark.parametrize("row", [row for row in RECORDED if row["collar_s"] == 0 and not row["ignore_overlap"]])
def test_the_numbers_are_those_of_md_eval(row, tmp_path):
    ref, hyp = turns(*row["ref"]), turns(*row["hyp"])
    ends = [time for turn in (*ref, *hyp) for time in (turn.start_s, turn.end_s)]
    write_rttm(tmp_path / "ref", {"a": ref})
    write_rttm(tmp_path / "hyp", {"a": hyp})
    (tmp_path / "uem").write_text(f"a 1 {min(ends):.3f} {max(ends):.3f}\n")
    command = [MD_EVAL, "-r", "ref", "-s", "hyp", "-u", "uem"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    names = ("SCORED SPEAKER TIME", "MISSED SPEAKER TIME", "FALARM SPEAKER TIME", "SPEAKER ERROR TIME")
    theirs = [float(re.search(rf"{name} *= *([\d.]+) secs", said).group(1)) for name in names]
    assert seconds(diarization_errors(ref, hyp, collar_s=0)) == pytest.approx(theirs, abs=0.011)


def test_every_recording_of_the_reference_counts():
    refs = {"a": turns((0, 10, "x")), "b": turns((0, 5, "x"))}
    score = score_diarization(refs, {"a": turns((0, 10, "1")), "c": turns((0, 9, "1"))}, collar_s=0)
    assert score.total == DiarizationErrors(15, 5, 0, 0)
    assert (score.missing, score.without_reference) == (("b",), ("c",))
    assert score.lines() == [
        "%DER 33.33 [ 5.00 / 15.00 s, 5.00 missed, 0.00 false alarm, 0.00 confused ]",
        "Scored 2 recordings, collar 0 s, overlapping speech scored.",
        "1 recording without a hypothesis, all missed: b",
        "1 recording without a reference, not scored: c",
    ]


def test_the_uem_chooses_the_recordings():
    refs, hyps = {"a": turns((0, 10, "x"))}, {"a": turns((0, 10, "1")), "c": turns((0, 9, "1"))}
    score = score_diarization(refs, hyps, parts={"c": [(0, 4)]}, collar_s=0)
    assert score.total == DiarizationErrors(0, 0, 4, 0) and math.isinf(score.total.rate)
    assert score.as_json()["rate"] is None
    with pytest.raises(UsageError, match="no recording to score"):
        score_diarization(refs, hyps, parts={"d": [(0, 4)]})


def test_an_rttm_is_read_back_as_it_was_written(tmp_path):
    written = {"b": turns((0.5, 2.25, "0")), "a": turns((0, 1, "1"), (1, 2, "0"))}
    write_rttm(tmp_path / "x.rttm", written)
    assert read_rttm(tmp_path / "x.rttm") == written
    assert (tmp_path / "x.rttm").read_text().split("\n")[0] == "SPEAKER a 1 0.000 1.000 <NA> <NA> 1 <NA> <NA>"


def test_comments_and_other_types_of_lines_are_left_out(tmp_path):
    (tmp_path / "x").write_text(
        ";; made by hand\nSPKR-INFO a 1 <NA> <NA> <NA> unknown s <NA>\n\nSPEAKER a 1 1 2 <NA> <NA> s\n"
    )
    assert read_rttm(tmp_path / "x") == {"a": turns((1, 3, "s"))}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_rttm, "SPEAKER a 1 0 2 <NA> <NA>\n", "has 7 fields, not 8 or more\n  at: .*x:1"),
        (read_rttm, "\nSPEAKER a 1 0 -2 <NA> <NA> s\n", "'-2' is not a time in seconds\n  at: .*x:2"),
        (read_rttm, "SPEAKER a 1 nan 2 <NA> <NA> s\n", "'nan' is not a time in seconds"),
        (read_rttm, "; nothing\n", "no SPEAKER line"),
        (read_rttm, b"\xff\n", "not UTF-8"),
        (read_uem, "a 1 0\n", "has 3 fields, not 4"),
        (read_ctm, "a 1 inf 1 x\n", "'inf' is not a time in seconds"),
        (read_uem, "a 1 4 4\n", "ends at 4 s, not after 4 s"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(read, content, message, tmp_path):
    (tmp_path / "x").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x")


def test_a_byte_order_mark_hides_no_line(tmp_path):
    for read, first, second in (
        (read_rttm, "SPEAKER a 1 0 2 <NA> <NA> s <NA> <NA>\n", "SPEAKER a 1 3 1 <NA> <NA> s <NA> <NA>\n"),
        (read_uem, "a 1 0 2\n", "a 1 3 4\n"),
        (read_ctm, "a 1 0 2 x\n", "a 1 3 1 y\n"),
    ):
        (tmp_path / "x").write_text(first + second)
        expected = read(tmp_path / "x")
        assert len(expected["a"]) == 2
        (tmp_path / "x").write_text("\ufeff" + first + second, "utf-8")
        assert read(tmp_path / "x") == expected


def test_the_command_prints_the_rate_and_writes_its_parts(tmp_path, capsys):
    write_rttm(tmp_path / "ref", {"a": turns((0, 10, "x"))})
    write_rttm(tmp_path / "hyp", {"a": turns((0, 8, "1"))})
    arguments = ["--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp"), "--out", str(tmp_path / "der.json")]
    assert main(["der", *arguments, "--collar", "0"]) == 0
    assert capsys.readouterr().out.startswith("%DER 20.00 [ 2.00 / 10.00 s")
    written = json.loads((tmp_path / "der.json").read_text())
    assert (written["rate"], written["missed_s"], written["recordings"]["a"]["rate"]) == (20.0, 2.0, 20.0)
    assert main(["der", *arguments, "--collar", "-1"]) == 2
    assert main(["der", "--ref", str(tmp_path / "none"), "--hyp", str(tmp_path / "hyp")]) == 3


def test_without_speech_of_the_reference_there_is_no_rate(tmp_path, capsys):
    write_rttm(tmp_path / "ref", {"a": turns((0, 2, "x"))})
    arguments = ["der", "--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "ref"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--collar", "5"]) == 3
    said = capsys.readouterr()
    assert "%DER" not in said.out and "there is no error rate" in said.err and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--collar", "nan"])
    with pytest.raises(UsageError):
        score_diarization({"a": turns((0, 2, "x"))}, {}, collar_s=math.nan)


def test_an_empty_file_of_hypotheses_is_a_run_that_found_no_speech(tmp_path, capsys):
    write_rttm(tmp_path / "ref", {"a": turns((0, 2, "x"))})
    (tmp_path / "hyp").touch()
    assert main(["der", "--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp"), "--collar", "0"]) == 0
    assert capsys.readouterr().out.startswith("%DER 100.00 [ 2.00 / 2.00 s, 2.00 missed")
