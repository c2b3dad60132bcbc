"""Stage 2: text.cer, its JSON and both command lines, against what the published tool printed."""

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.cli import main
from funrecipe.data.texts import read_texts
from funrecipe.errors import DataError, IncompleteRunError, WriteError
from funrecipe.files import write_text
from funrecipe.score.scoring import Edits, score_texts
from funrecipe.score.side_information import SideInformation
from funrecipe.score.summary import analysis_json

REPO = Path(__file__).resolve().parents[2]
FIXTURE = REPO / "tests/data/speechio_fixture"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def run_score(tmp_path, ref, hyp, *options):
    out = tmp_path / "text.cer"
    code = main(
        [
            "score",
            "--ref",
            write(tmp_path / "ref", ref),
            "--hyp",
            write(tmp_path / "hyp", hyp),
            "--out",
            str(out),
            *options,
        ]
    )
    return code, out


def test_fixture_equals_the_published_file_but_for_its_faults(tmp_path):
    # The old tool leaves out references without a hypothesis, and does not split ties as Kaldi does.
    out = tmp_path / "text.cer"
    run = subprocess.run(
        [sys.executable, REPO / "utils/compute_wer.py", "ref2.proc", "hyp.proc", out, "--missing", "present"],
        cwd=FIXTURE,
        capture_output=True,
        text=True,
        check=True,
    )
    split = re.compile(r"cor=\d+,ins=\d+,del=\d+,sub=\d+")
    ours = split.sub("", out.read_text(encoding="utf-8")).splitlines()
    theirs = split.sub("", (FIXTURE / "funasr_text.cer").read_text(encoding="utf-8")).splitlines()
    assert ours[:-3] == theirs[:-3]
    assert ours[-3].startswith("%WER 51.11 [ 23 / 45, ")
    assert ours[-2:] == ["%SER 100.00 [ 5 / 5 ]", "Scored 5 sentences, 0 not present in hyp."]
    assert "1 without a hypothesis (LEFT OUT)" in run.stdout


def test_default_counts_every_reference(tmp_path):
    # As above, with the 11 characters of the utterance that was left out.
    out = tmp_path / "text.cer"
    ref, hyp = FIXTURE / "ref2.proc", FIXTURE / "hyp.proc"
    assert main(["score", "--ref", str(ref), "--hyp", str(hyp), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8").splitlines()[-3:] == [
        "%WER 60.71 [ 34 / 56, 1 ins, 27 del, 6 sub ]",
        "%SER 100.00 [ 6 / 6 ]",
        "Scored 6 sentences, 1 not present in hyp.",
    ]


def test_contract_example(tmp_path):
    ref, hyp = "utt3 我 有 62% 的 概 率 啊\n", "utt3 我 有 百 分 之 六 十 二 的 概 率\n"
    _, out = run_score(tmp_path, ref, hyp)
    assert out.read_text(encoding="utf-8").splitlines() == [
        "utt3(nwords=7,cor=5,ins=5,del=1,sub=1) corr:71.43%,cer:100.00%",
        "ref:\t我 有 62% 的 概 率 啊",
        "hyp:\t我 有 百 分 之 六 十 二 的 概 率",
        "",
        "%WER 100.00 [ 7 / 7, 5 ins, 1 del, 1 sub ]",
        "%SER 100.00 [ 1 / 1 ]",
        "Scored 1 sentences, 0 not present in hyp.",
    ]


def test_json_says_how_the_number_came_about(tmp_path):
    _, out = run_score(tmp_path, "b 你好\na 一二\nc 三\n", "a 一 二\nb \nz 多\n", "--meta", "weights=sha256:12=3")
    result = json.loads((tmp_path / "text.cer.json").read_text(encoding="utf-8"))
    assert result["meta"] == {"weights": "sha256:12=3"}
    assert result["rate"] == 60.0 and result["deletions"] == 3 and result["tokens"] == 5
    assert result["protocol"]["name"] == "strict" and result["protocol"]["tokens"] == "mixed"
    coverage = result["coverage"]
    assert (coverage["references"], coverage["scored"], coverage["missing"]) == (3, 3, 1)
    assert coverage["missing_ids"] == ["c"] and coverage["empty_ids"] == ["b"]
    assert coverage["without_reference_ids"] == ["z"]
    assert [line.split("(")[0] for line in out.read_text().splitlines() if "nwords" in line] == ["a", "b", "c"]


def test_joined_and_spaced_text_score_alike(tmp_path):
    spaced = run_score(tmp_path, "a 我 爱 北 京 hello world\n", "a 我 爱 北 平 hello word\n")[1].read_text()
    joined = run_score(tmp_path, "a 我爱北京hello world\n", "a 我爱北平hello word\n")[1].read_text()
    assert spaced == joined and "[ 2 / 6, 0 ins, 0 del, 2 sub ]" in spaced


def test_empty_reference_counts_insertions(tmp_path):
    _, out = run_score(tmp_path, "a\nb 好\nc\n", "a 啊 呀\nb 好\nc\n")
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "a(nwords=0,cor=0,ins=2,del=0,sub=0) corr:0.00%,cer:inf%"
    assert lines[6] == "c(nwords=0,cor=0,ins=0,del=0,sub=0) corr:0.00%,cer:0.00%"
    assert lines[-3:-1] == ["%WER 200.00 [ 2 / 1, 2 ins, 0 del, 0 sub ]", "%SER 33.33 [ 1 / 3 ]"]


@pytest.mark.parametrize(("hyp", "rate"), [("a 啊\n", "inf"), ("a\n", "none")])
@pytest.mark.parametrize("detail", ["full", "totals"])
def test_only_empty_references_give_no_rate_and_exit_code_3(tmp_path, capsys, hyp, rate, detail):
    out = tmp_path / "text.cer"
    options = ["--detail", detail] if detail == "totals" else ["--out", str(out)]
    code = main(["score", "--ref", write(tmp_path / "ref", "a\n"), "--hyp", write(tmp_path / "hyp", hyp), *options])
    said = capsys.readouterr()
    assert code == 3 and "references are blank" in said.err
    assert "nan" not in said.out + said.err
    if detail == "full":
        assert f"%WER {rate} [ {len(hyp) // 4} / 0, " in out.read_text()
        assert json.loads((tmp_path / "text.cer.json").read_text())["rate"] is None


@pytest.mark.parametrize("text", ["안녕하세요 세계", "café déjà vu", "Tiếng Việt", "が ぎ"])
def test_decomposed_texts_equal_composed_ones_and_the_protocol_says_so(tmp_path, capsys, text):
    ref, hyp = (f"a {unicodedata.normalize(form, text)}\n" for form in ("NFD", "NFC"))
    assert ref != hyp
    run_score(tmp_path, ref, hyp)
    assert "%WER 0.00" in (said := capsys.readouterr().out) and "unicode NFC" in said
    assert json.loads((tmp_path / "text.cer.json").read_text())["protocol"]["unicode"] == "NFC"
    main(["score", "--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp"), "--detail", "totals"])
    assert "%WER 0.00" in capsys.readouterr().out


def test_decomposed_hot_words_are_found_too():
    scoring = score_texts({"a": "café au lait"}, {"a": "café au lait"})
    assert (
        analysis_json(scoring, SideInformation(hotwords=[unicodedata.normalize("NFD", "café")]))["hotwords"]["hits"]
        == 1
    )


def test_many_empty_hypotheses_are_said(tmp_path, capsys):
    ids = [f"u{number:02d}" for number in range(20)]
    ref = "".join(f"{key} 好\n" for key in ids)
    _, out = run_score(
        tmp_path, ref, "".join(f"{key} {'好' if number > 2 else ''}\n" for number, key in enumerate(ids))
    )
    assert "WARNING: 3 of 20 hypotheses are empty (15 %)" in capsys.readouterr().out
    lines = out.read_text().splitlines()
    assert lines[-4].startswith("WARNING: 3 of 20") and lines[-3].startswith("%WER 15.00")
    run_score(tmp_path, ref, "".join(f"{key} {'好' if number > 1 else ''}\n" for number, key in enumerate(ids)))
    assert "WARNING" not in capsys.readouterr().out + out.read_text()


@pytest.mark.parametrize(
    ("ref", "hyp", "message"),
    [
        ("", "a 好\n", "no reference"),
        ("\n \n", "a 好\n", "no reference"),
        ("a 好\n", "b 好\n", "none of the 1 hypothesis ids"),
        ("a 好\na 坏\n", "a 好\n", "duplicate id"),
        ("a 好\n", "a 好\n\na 坏\n", "hyp:3"),
    ],
)
def test_nothing_to_score_is_an_error_not_a_number(tmp_path, capsys, ref, hyp, message):
    code, out = run_score(tmp_path, ref, hyp)
    assert code == 3 and not out.exists()
    assert message in capsys.readouterr().err


def test_not_utf8_names_the_line(tmp_path):
    (tmp_path / "hyp").write_bytes("a 好\nb ".encode() + "好".encode("gb18030") + b"\n")
    with pytest.raises(DataError, match=r"hyp:2"):
        read_texts(tmp_path / "hyp")


def test_a_zero_byte_is_no_text(tmp_path):
    (tmp_path / "hyp").write_bytes(b"a x\nb " + "好".encode("utf-16-le") + b"\0\n")
    with pytest.raises(DataError, match="hyp:2: control character in the line of 'b'"):
        read_texts(tmp_path / "hyp")


def test_links_are_written_through_never_replaced(tmp_path):
    """As root, replacing /dev/stdout would take it away from everybody."""
    (tmp_path / "file").write_text("old old old", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text(encoding="utf-8") == "new"


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot write"):
        write_text(tmp_path / "file" / "x", "new")


def test_reading_forgives_what_editors_do(tmp_path):
    (tmp_path / "text").write_bytes("\ufeffa\t好 的\r\n\r\nb \r\nc x\u2028y".encode())
    assert read_texts(tmp_path / "text") == {"a": "好 的", "b": "", "c": "x\u2028y"}


def test_missing_policies():
    refs, hyps = {"a": "好", "b": "一二三"}, {"a": "好"}
    assert score_texts(refs, hyps).edits.deletions == 3
    present = score_texts(refs, hyps, missing_policy="present")
    assert present.edits.errors == 0 and present.coverage.scored == 1 and present.coverage.missing == ("b",)
    with pytest.raises(IncompleteRunError, match="1 of 2 references"):
        score_texts(refs, hyps, missing_policy="error")


def test_case_is_folded():
    assert score_texts({"a": "Hello"}, {"a": "hELLO"}).edits.errors == 0


by_id = st.dictionaries(st.sampled_from("abcdefgh"), st.text(alphabet="一二三 xy", max_size=12), min_size=1)


@given(by_id)
@settings(deadline=None)
def test_reference_against_itself_has_no_error(refs):
    for unit in ("mixed", "char", "word"):
        assert score_texts(refs, refs, unit=unit).edits.errors == 0


@given(by_id, by_id, st.data())
@settings(deadline=None)
def test_losing_a_hypothesis_never_lowers_the_error_count(refs, hyps, data):
    hyps = {i: hyps.get(i, text) for i, text in refs.items()}
    lost = data.draw(st.sampled_from(sorted(refs)))
    if len(hyps) == 1:
        return
    before = score_texts(refs, hyps)
    after = score_texts(refs, {i: text for i, text in hyps.items() if i != lost})
    assert after.edits.tokens == before.edits.tokens
    # A hypothesis so long that it is worse than none (more errors than reference tokens) is the one exception.
    worst = Edits(*before.counts[before.ids.index(lost)].tolist())
    assert after.edits.errors >= before.edits.errors or worst.errors > worst.tokens
