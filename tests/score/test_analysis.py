"""The complete analysis on texts small enough to count by hand."""

import json
import shutil
import subprocess

import pytest

from funrecipe.cli import main
from funrecipe.score.breakdown import Confusions, Worst, by_language, language
from funrecipe.score.export import trn_lines
from funrecipe.score.hallucinations import hallucinations
from funrecipe.score.scoring import Edits, score_texts
from funrecipe.score.side_information import SideInformation
from funrecipe.score.summary import analysis_json

REFS = {"s1-a": "我用iphone打电话", "s1-b": "一共25个", "s2-c": "你好", "s2-d": ""}
HYPS = {"s1-a": "我用 android 打 电话吧", "s1-b": "一共26个", "s2-c": "你好", "s2-d": "嗯"}


@pytest.fixture
def scoring():
    return score_texts(REFS, HYPS)


def test_three_rates_from_one_pass(scoring):
    rates = analysis_json(scoring, SideInformation())["rates"]
    assert (rates["mer"]["errors"], rates["mer"]["tokens"]) == (4, 12)  # iphone, 25, and two insertions
    assert (rates["cer"]["errors"], rates["cer"]["tokens"]) == (9, 18)
    assert (rates["wer"]["errors"], rates["wer"]["tokens"]) == (6, 3)


def test_languages_add_up_to_the_total(scoring):
    languages = by_language(scoring)
    assert languages["en"] == Edits(substitutions=1)
    assert languages["number"] == Edits(substitutions=1)
    assert languages["zh"] == Edits(correct=10, insertions=2)
    total = scoring.edits
    assert sum(edits.errors for edits in languages.values()) == total.errors
    assert sum(edits.tokens for edits in languages.values()) == total.tokens


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("我", "zh"),
        ("𠮷", "zh"),
        ("〇", "zh"),
        ("café", "en"),
        ("2.5gb", "en"),
        ("62%", "number"),
        ("，", "other"),
        ("か", "other"),
    ],
)
def test_language_of_tokens(token, name):
    assert language(token) == name


def added(table, scoring):
    table.add(scoring)
    return table.as_json()


def test_confusions_and_worst(scoring):
    table = added(Confusions(), scoring)
    assert {"ref": "iphone", "hyp": "android", "count": 1} in table["substitutions"]
    assert {"ref": "25", "hyp": "26", "count": 1} in table["substitutions"]
    assert [item["hyp"] for item in table["insertions"]] == ["吧", "嗯"]
    assert table["deletions"] == []
    assert [item["id"] for item in added(Worst(), scoring)] == ["s1-a", "s2-d", "s1-b"]


def test_confusions_find_their_tokens_after_gaps():
    table = added(Confusions(), score_texts({"a": "甲乙丙丁戊己"}, {"a": "乙丙丁多多戊错"}))
    assert table["substitutions"] == [{"ref": "己", "hyp": "错", "count": 1}]
    assert table["insertions"] == [{"hyp": "多", "count": 2}]
    assert table["deletions"] == [{"ref": "甲", "count": 1}]


def test_length_buckets(scoring):
    buckets = analysis_json(scoring, SideInformation())["lengths"]
    assert [(b["bucket"], b["utterances"], b["errors"]) for b in buckets] == [
        ("0 tokens", 1, 1),
        ("1-5 tokens", 2, 1),
        ("6-10 tokens", 1, 2),
    ]
    assert buckets[0]["rate"] is None  # insertions, and no reference token


def test_speakers_sets_durations_and_hot_words(tmp_path):
    files = {
        "ref": "".join(f"{i} {t}\n" for i, t in REFS.items()),
        "hyp": "".join(f"{i} {t}\n" for i, t in HYPS.items()),
        "utt2spk": "".join(f"{i} {i[:2]}\n" for i in REFS),
        "utt2dur": "s1-a 2.5\ns1-b 1\ns2-c 61\n",
        "sets": "s1-a x\ns1-b x\ns2-c y\n",
        "hot": "iPhone\n你 好\n打电话\n\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    options = [
        "--data_dir",
        str(tmp_path),
        "--utt2set",
        str(tmp_path / "sets"),
        "--hotwords",
        str(tmp_path / "hot"),
        "--jsonl",
        str(tmp_path / "utts.jsonl"),
    ]
    texts = ["--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp")]
    assert main(["score", *texts, "--out", str(tmp_path / "text.cer"), *options]) == 0
    analysis = json.loads((tmp_path / "text.cer.json").read_text(encoding="utf-8"))["analysis"]
    assert {name: row["errors"] for name, row in analysis["speakers"].items()} == {"s1": 3, "s2": 1}
    assert {name: row["utterances"] for name, row in analysis["sets"].items()} == {"x": 2, "y": 1, "(none)": 1}
    assert [(b["bucket"], b["errors"]) for b in analysis["durations"]] == [
        ("unknown", 1),
        ("0-2 s", 1),
        ("2-5 s", 2),
        ("30 s and more", 0),
    ]
    assert analysis["interval_by_speaker"]["number_of_blocks"] == 2
    words = {word["word"]: word for word in analysis["hotwords"]["words"]}
    assert (words["iPhone"]["recall"], words["iPhone"]["precision"]) == (0.0, None)
    assert (words["你 好"]["recall"], words["打电话"]["recall"], analysis["hotwords"]["hits"]) == (100.0, 100.0, 2)
    lines = [json.loads(line) for line in (tmp_path / "utts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == sorted(REFS) and lines[0]["ops"] == "CCSCCCI"


def test_hot_words_given_as_words_are_normalized_like_the_texts(tmp_path, capsys):
    (tmp_path / "ref").write_text("a 我买iPhone 12了\nb 2012年的书\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a 我买iphone 十二了\nb 二零一三年的书\n", encoding="utf-8")
    texts = ["--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp")]
    assert main(["score", *texts, "--profile", "strict", "--hotwords", "iPhone 2012年"]) == 0
    assert "hotwords: recall 50.00 % (1 of 2 spoken), precision 100.00 % (1 of 1 written)" in capsys.readouterr().out


def test_hot_words_are_whole_tokens_and_counted_per_utterance():
    scoring = score_texts({"a": "art 北京北京", "b": "x"}, {"a": "party 北京", "b": "北京"})
    scores = analysis_json(scoring, SideInformation(hotwords=["art", "北京"]))["hotwords"]
    assert scores["words"][0]["in_hypotheses"] == 0
    assert scores["words"][1] == {
        "word": "北京",
        "in_references": 2,
        "in_hypotheses": 2,
        "hits": 1,
        "recall": 50.0,
        "precision": 50.0,
    }


def test_hallucinations():
    refs = {"run": "今天天气", "circle": "我说", "laugh": "哈" * 12, "silence": "", "few": "好"}
    hyps = {
        "run": "今天天气谢谢大家收看",
        "circle": "我说" + "好的" * 4,
        "laugh": "哈" * 11,
        "silence": "谢谢",
        "few": "好啊啊",
    }
    flags = [(f["id"], f["reason"], "".join(f["tokens"])) for f in hallucinations(score_texts(refs, hyps))]
    assert ("run", "insertions", "谢谢大家收看") in flags
    assert ("circle", "repetition", "好的好的好的好的") in flags
    assert ("silence", "insertions", "谢谢") in flags
    assert not [flag for flag in flags if flag[0] in ("few", "laugh")]


@pytest.mark.skipif(shutil.which("sclite", path="/usr/lib/sctk/bin") is None, reason="no sclite: apt-get install sctk")
def test_trn_files_score_alike_in_sclite(tmp_path):
    refs = {"u1": "a b c", "u2": "d e", "u3": "f"}
    hyps = {"u1": "a x c", "u2": "d", "u3": "f g"}
    scoring = score_texts(refs, hyps, unit="word")
    for name, lines in zip(("ref", "hyp"), trn_lines(scoring, {"u1": "spk-1", "u2": "spk-1"})):
        (tmp_path / f"{name}.trn").write_text("".join(lines))
    command = ["/usr/lib/sctk/bin/sclite", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm"]
    command += ["-o", "all", "stdout"]
    report = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "spk_1" in report and "u3" in report
    # Snt 3, words 6: correct 4, sub 1, del 1, ins 1 in percent of the words
    total = next(line for line in report.splitlines() if "Sum/Avg" in line).replace("|", " ").split()
    assert total[1:3] == ["3", "6"] and total[3:8] == ["66.7", "16.7", "16.7", "16.7", "50.0"]


def test_meta_and_usage_errors(tmp_path, capsys):
    (tmp_path / "r").write_text("a 好\n", encoding="utf-8")
    command = ["score", "--ref", str(tmp_path / "r"), "--hyp", str(tmp_path / "r")]
    assert main([*command, "--meta", "noequals"]) == 2
    assert main([*command, "--detail", "totals"]) == 0
    assert "%WER 0.00 [ 0 / 1 ]" in capsys.readouterr().out
    (tmp_path / "utt2dur").write_text("a long\n")
    assert main([*command, "--utt2dur", str(tmp_path / "utt2dur")]) == 3
