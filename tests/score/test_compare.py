import json
from pathlib import Path

import pytest

from funrecipe.cli import main
from funrecipe.errors import DataError
from funrecipe.score.compare import compare
from funrecipe.score.scoring import score_texts

SCTK = Path(__file__).resolve().parents[1] / "data/sctk"


def make_run(folder, refs, hyps):
    recog = folder / "1best_recog"
    recog.mkdir(parents=True)
    for name, texts in (("text.ref", refs), ("text.proc", hyps)):
        (recog / name).write_text("".join(f"{i} {text}\n" for i, text in texts.items()), encoding="utf-8")
    return folder


def trn_to_text(path, out):
    lines = [line.rpartition(" (") for line in path.read_text().splitlines()]
    out.write_text("".join(f"{name.rstrip(')')} {text}\n" for text, _, name in lines))
    return str(out)


def test_hypothesis_files_against_sc_stats(tmp_path, capsys):
    ref, a, b = (trn_to_text(SCTK / f"{name}.trn", tmp_path / name) for name in ("ref", "a", "b"))
    assert main(["compare", a, b, "--ref", ref, "--out", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "MAPSSWE: 465 segments, mean +0.404, z +6.396" in printed
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["mapsswe"]["significant"] and result["paired_bootstrap"]["high"] < 0
    assert result["improved"][0]["change"] < 0 < result["worsened"][0]["change"]


def test_result_folders_and_missing_hypotheses(tmp_path, capsys):
    refs = {"a": "今天天气", "b": "你好"}
    first = make_run(tmp_path / "x", refs, refs)
    second = make_run(tmp_path / "y", refs, {"a": "今天天汽"})
    assert main(["compare", str(first), str(second / "1best_recog")]) == 0
    printed = capsys.readouterr().out
    assert "3 / 6, 0 ins, 2 del, 1 sub, 1 missing" in printed and "B - A: +50.00 points" in printed


def test_different_references_are_refused():
    with pytest.raises(DataError, match="different references"):
        compare(score_texts({"a": "好", "b": "一"}, {"a": "好"}), score_texts({"a": "坏", "c": "一"}, {"a": "好"}))


def test_a_folder_that_was_not_scored(tmp_path, capsys):
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 3
    assert "stage 2" in capsys.readouterr().err


def test_blank_references_are_refused_as_in_scoring(tmp_path, capsys):
    for name, text in (("ref", "a\n"), ("x", "a 一\n"), ("y", "a 二\n")):
        (tmp_path / name).write_text(text)
    ref, x, y = (str(tmp_path / name) for name in ("ref", "x", "y"))
    assert main(["compare", x, y, "--ref", ref, "--out", str(tmp_path / "out.json")]) == 3
    assert "all 1 references are blank" in capsys.readouterr().err
