"""Stage 3 and error_rate_zh against the bytes that the published tools printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from funrecipe.cli import main
from funrecipe.errors import DataError
from funrecipe.score.speechio import details_txt, evaluate

REPO = Path(__file__).resolve().parents[2]
FIXTURE = REPO / "tests/data/speechio_fixture"


def error_rate_zh(*arguments, cwd):
    command = [sys.executable, REPO / "utils/error_rate_zh", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")


def stage3(tmp_path, profile="speechio", ref=FIXTURE / "ref", hyp=FIXTURE / "hyp"):
    options = ["--protocol", "speechio", "--profile", profile, "--out_dir", str(tmp_path / "out")]
    code = main(["score", "--ref", str(ref), "--hyp", str(hyp), *options])
    return code, tmp_path / "out"


def test_error_rate_zh_writes_the_published_bytes(tmp_path):
    details = tmp_path / "DETAILS.txt"
    options = ("--ref-format", "text", "--hyp-format", "text")
    run = error_rate_zh("--tokenizer", "char", *options, "--ref", "ref.norm", "--hyp", "hyp.ne", details, cwd=FIXTURE)
    assert run.returncode == 0
    assert run.stdout == (FIXTURE / "RESULTS.txt").read_text(encoding="utf-8")
    assert details.read_bytes() == (FIXTURE / "DETAILS.txt").read_bytes()
    assert "2 references whose hypothesis is missing or empty" in run.stderr


@pytest.mark.parametrize("tool", ["error_rate_zh", "compute_wer.py"])
def test_a_python_without_the_requirements_hands_over_to_the_repositorys(tool, tmp_path):
    options = {"error_rate_zh": ["--ref", "ref.norm", "--hyp", "hyp.ne"], "compute_wer.py": ["ref.norm", "hyp.ne"]}
    bare_python = [sys.executable, "-S", REPO / "utils" / tool]
    command = [*bare_python, *options[tool], tmp_path / "out"]
    run = subprocess.run(command, cwd=FIXTURE, capture_output=True, text=True, encoding="utf-8")
    if (REPO / ".venv").exists():
        assert run.returncode == 0 and "%WER" in run.stdout and (tmp_path / "out").exists()
    else:
        assert run.returncode == 2 and "tools/setup.sh" in run.stderr


def test_whitespace_is_the_default_tokenizer(tmp_path):
    (tmp_path / "ref").write_text("a hello 世界\n", encoding="utf-8")
    run = error_rate_zh("--ref", "ref", "--hyp", "ref", "D", cwd=tmp_path)
    assert json.loads(run.stdout.splitlines()[0])["C"] == 2


def test_a_reference_from_a_pipe_counts_as_the_file_does(tmp_path, capsys):
    """Lines out of order, one twice, one of an ideographic space."""
    for place in ("file", "pipe"):
        (tmp_path / place).mkdir()
    text = "b 好\na 今天\nb 好\nc \u3000\n"
    (tmp_path / "ref").write_text(text, encoding="utf-8")
    (tmp_path / "hyp").write_text("a 今天\nb 号\nc 好\n", encoding="utf-8")
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    codes = [stage3(tmp_path / "file", ref=tmp_path / "ref", hyp=tmp_path / "hyp")[0]]
    codes.append(stage3(tmp_path / "pipe", ref=f"/dev/fd/{read}", hyp=tmp_path / "hyp")[0])
    os.close(read)
    assert codes == [0, 0]
    for name in ("ref.txt", "DETAILS.txt", "RESULTS.txt"):
        assert (tmp_path / "file/out" / name).read_text() == (tmp_path / "pipe/out" / name).read_text()
    assert (tmp_path / "file/out/ref.txt").read_text() == "b\t好\na\t今天\n"


def test_stage3_speechio_profile(tmp_path, capsys):
    code, out = stage3(tmp_path)
    assert code == 0
    for ours, published in (("ref.txt", "ref.norm"), ("DETAILS.txt", "DETAILS.txt"), ("RESULTS.txt", "RESULTS.txt")):
        assert (out / ours).read_bytes() == (FIXTURE / published).read_bytes(), ours
    # 23 characters of references that the tool drops, and insertions on two references that vanish.
    strict = (out / "RESULTS.strict.txt").read_text(encoding="utf-8")
    assert "%WER 60.71 [ 34 / 56, 5 ins, 28 del, 1 sub ]" in strict
    printed = capsys.readouterr().out
    assert "%WER 20.59 [ 7 / 34, 0 ins, 6 del, 1 sub ]" in printed and "%WER 60.71" in printed
    result = json.loads((out / "RESULTS.json").read_text(encoding="utf-8"))
    assert result["profile"]["name"] == "speechio" and result["profile"]["version"]
    assert result["speechio"]["token_error_rate"] == pytest.approx(700 / 34)
    assert result["strict"]["errors"] == 34 and result["strict"]["protocol"]["normalization"].startswith("speechio ")
    assert result["speechio"]["references_without_hypothesis"] == ["a3", "a4"]


def test_stage3_funasr2023_profile(tmp_path):
    _, out = stage3(tmp_path, "funasr2023")
    assert (out / "DETAILS.txt").read_bytes() == (FIXTURE / "DETAILS.funasr2023.txt").read_bytes()
    assert "a5\t\n" in (out / "ref.txt").read_text(encoding="utf-8")  # the older tool keeps empty references


def test_misread_numbers_put_the_strict_profile_beside(tmp_path, capsys):
    (tmp_path / "ref").write_text("a 有3000人\nb 好\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a 有三千人\nb 好\n", encoding="utf-8")
    code, out = stage3(tmp_path, "speechio", tmp_path / "ref", tmp_path / "hyp")
    assert code == 0 and "%WER 42.86 [ 3 / 7" in (out / "RESULTS.txt").read_text(encoding="utf-8")
    strict = (out / "RESULTS.strict.txt").read_text(encoding="utf-8")
    assert strict.count("%WER") == 1 and "profile: strict" in strict and "%WER 0.00 [ 0 / 5" in strict
    assert strict in capsys.readouterr().out
    result = json.loads((out / "RESULTS.json").read_text(encoding="utf-8"))
    assert (result["strict"]["errors"], result["strict_profile"]["errors"]) == (3, 0)


def test_no_strict_file_when_nothing_differs(tmp_path, capsys):
    (tmp_path / "ref").write_text("a 今天\nb 明天\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/RESULTS.strict.txt").write_text("of an earlier run")
    code, out = stage3(tmp_path, ref=tmp_path / "ref", hyp=tmp_path / "ref")
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["DETAILS.txt", "RESULTS.json", "RESULTS.txt", "ref.txt"]
    assert "%WER 0.00 [ 0 / 4, 0 ins, 0 del, 0 sub ]" in capsys.readouterr().out


def test_nothing_to_evaluate_is_an_error_and_publishes_nothing(tmp_path, capsys):
    (tmp_path / "ref").write_text("a 今天\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a \n", encoding="utf-8")
    code, out = stage3(tmp_path, ref=tmp_path / "ref", hyp=tmp_path / "hyp")
    assert code == 3 and not out.exists()
    assert "nothing to score" in capsys.readouterr().err
    with pytest.raises(DataError):
        evaluate({}, {"a": "好"}, "char")


def test_columns_are_padded_for_wide_characters_and_perfect_scores_are_not_minus_zero():
    text = "".join(details_txt(evaluate({"a": "中 word x"}, {"a": "中 wor"}, "whitespace")))
    assert text.splitlines()[1:4] == ["  REF  : 中 word x ", "  HYP  : 中 wor  * ", "  EDIT :    S    D "]
    assert '"score":0.0, "ter":0.00' in "".join(details_txt(evaluate({"a": "中"}, {"a": "中"}, "char")))


def test_protocol_speechio_wants_a_folder(capsys):
    assert main(["score", "--ref", "r", "--hyp", "h", "--protocol", "speechio"]) in (2, 3)
    assert main(["score", "--ref", str(FIXTURE / "ref"), "--hyp", str(FIXTURE / "hyp"), "--protocol", "speechio"]) == 2
    assert "--out_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--protocol", "speechio", "--out_dir", "x", "--missing", "present"],
        ["--out_dir", "x"],
        ["--detail", "totals", "--out", "x"],
        ["--detail", "totals", "--profile", "strict"],
    ],
)
def test_options_that_would_do_nothing_are_refused(options, capsys):
    assert main(["score", "--ref", str(FIXTURE / "ref"), "--hyp", str(FIXTURE / "hyp"), *options]) == 2
    assert "has no effect with" in capsys.readouterr().err


def test_spacing_changes_nothing_under_the_strict_profile(tmp_path):
    refs = {"a": "2023年10月我女儿买了3.5公斤iPhone配件", "b": "百分之五十一点二的人"}
    hyps = {"a": "二零二三年十月我女儿买了三点五公斤iphone配件啊", "b": "51.2%的人们"}
    results = []
    for spread in (lambda text: text, lambda text: " ".join(text.replace("iphone", "|")).replace("|", "iphone")):
        for name, texts in (("ref", refs), ("hyp", {i: spread(text) for i, text in hyps.items()})):
            (tmp_path / name).write_text("".join(f"{i} {t}\n" for i, t in texts.items()), encoding="utf-8")
        assert stage3(tmp_path, "strict", tmp_path / "ref", tmp_path / "hyp")[0] == 0
        results.append((tmp_path / "out/RESULTS.txt").read_text())
    assert results[0] == results[1]
    # 啊 is a filler; 们 is an insertion
    assert json.loads(results[0].splitlines()[0])["I"] == 1 and json.loads(results[0].splitlines()[0])["S"] == 0
