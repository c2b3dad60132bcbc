"""The speechio and funasr2023 profiles against what the published tools print."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from funrecipe import cli
from funrecipe.errors import UsageError
from funrecipe.text.normalize import PROFILES, get_profile
from funrecipe.text.normalize.speechio import SpeechioFlags, normalize

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "textnorm"
TOOL = ROOT / "utils" / "textnorm_zh.py"
LEADERBOARD_FLAGS = ["--format=ark", "--to_upper", "--to_banjiao", "--remove_fillers", "--remove_erhua"]


def observed(tool: str) -> list[tuple[str, str]]:
    with open(DATA / "cases.tsv", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(text, expected) for source, text, expected in rows if source.startswith(f"observed:{tool}")]


@pytest.mark.parametrize(
    "profile, tool, count", [("speechio", "SpeechColab-Leaderboard", 452), ("funasr2023", "FunASR-2023", 2)]
)
def test_observed_outputs_of_the_published_tool(profile: str, tool: str, count: int) -> None:
    rows = observed(tool)
    assert len(rows) == count
    run = get_profile(profile).normalize
    assert [(text, run(text)) for text, _ in rows] == rows


@pytest.mark.parametrize(
    "text, expected",
    # Vectors from running the 2023 copy; all of them quirks that a repaired normalizer would not have.
    [
        ("1999年2月20日", "一九九九年二月二十日"),
        ("80.03%", "百分之八十点零三"),
        ("32477/76391", "七万六千三百九十一分之三万两千四百七十七"),
        ("2983.07克", "二九八三 零七克"),
        ("3000微米3000公里", "三千微米三零零零公里"),
        ("3456万吨", "三千四百五十六万吨"),
        ("3.14", "三点一四"),
        ("3.1415926", "三 一四一五九二六"),
        ("12345.678", "一二三四五 六百七十八"),
        ("他女儿在那边儿玩儿", "他女儿在那边玩"),
        ("３０００余件", "三千零百零十零余件"),
        ("·〈x〉《y》", "·〈X〉《Y "),
        ("00后", "后"),
    ],
)
def test_funasr2023_vectors(text: str, expected: str) -> None:
    assert get_profile("funasr2023").normalize(text) == expected


@pytest.mark.parametrize(
    "flags, text, expected",
    [
        ({}, "Ａa啊儿，", "Ａa啊儿 "),
        ({"to_banjiao": True}, "Ａ１　", "A一 "),
        ({"to_upper": True, "to_lower": True}, "aB", "ab"),
        ({"check_chars": True}, "雪の花", ""),
        ({"check_chars": True}, "诶ABC 中", "诶ABC 中"),
        ({"remove_space": True}, " 你 好 , A B1 c 中 ", "你好A B一c中"),
    ],
)
def test_each_flag_alone(flags: dict[str, bool], text: str, expected: str) -> None:
    assert normalize(text, SpeechioFlags(**flags)) == expected


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


@pytest.mark.parametrize("side", ["ref", "hyp"])
def test_tool_writes_the_published_bytes(tmp_path: Path, side: str) -> None:
    done = run_tool(*LEADERBOARD_FLAGS, DATA / f"fixture.{side}", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (DATA / f"fixture.{side}.norm").read_bytes()
    assert done.stderr == "text norm: 8 lines done in total.\n" and done.returncode == 0


def test_tool_generations_differ_on_empty_text_and_defaults(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("a 呃啊\nb\nc 这儿２\n", encoding="utf-8")
    outputs = {}
    for name, flags in {
        "2023": ["--has_key", "--to_upper"],
        "2023 off": ["--has_key", "--remove_fillers", "", "--remove_erhua="],
        "newest": ["--format=ark", "--remove_fillers", "--remove_erhua"],
    }.items():
        assert run_tool(*flags, source, tmp_path / "out").returncode == 0
        outputs[name] = (tmp_path / "out").read_text(encoding="utf-8")
    assert outputs == {
        "2023": "a\t\nb\t\nc\t这二\n",
        "2023 off": "a\t呃啊\nb\t\nc\t这儿二\n",
        "newest": "c\t这二\n",
    }


def test_tool_tsv_changes_only_the_text_column(tmp_path: Path) -> None:
    source = tmp_path / "metadata.tsv"
    source.write_text("ID\tTEXT\tDURATION\na\t2个\t1.5\nb\t啊\t2\n", encoding="utf-8")
    run_tool("--format", "tsv", "--remove_fillers", "--log_interval", 1, source, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "ID\tTEXT\tDURATION\na\t二个\t1.5\n"


def test_tool_refuses_what_it_cannot_read_and_leaves_the_output_alone(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a 好\n\nb 好\n", encoding="utf-8")
    (tmp_path / "out").write_text("before", encoding="utf-8")
    done = run_tool("--has_key", tmp_path / "in", tmp_path / "out")
    assert done.returncode == 3 and "in:2" in done.stderr
    assert (tmp_path / "out").read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert run_tool("--has_key", "--to_upper", "--to_lower", tmp_path / "in", tmp_path / "out").returncode == 2


def test_normalize_verb_keeps_every_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("a 呃啊\nb\t2个  人\nc\n", encoding="utf-8")
    assert cli.main(["normalize", "--profile", "speechio", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_text(encoding="utf-8") == "a\t\nb\t二个  人\nc\t\n"
    assert get_profile("speechio").version in capsys.readouterr().err


def test_normalize_verb_reads_stdin_and_writes_stdout(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("a 第１\u2028".encode())))
    assert cli.main(["normalize", "--profile", "funasr2023", "-", "-"]) == 0
    assert capsysbinary.readouterr().out == "a\t第一\n".encode()


def test_normalize_verb_answers_each_line_of_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "funrecipe", "normalize", "-", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        watchdog = threading.Timer(120, process.kill)  # ends a normalizer that waits for more
        watchdog.start()
        for sent, answer in (("\ufeffa 2\nb 第", "a\t二\n"), ("1\nc/ x\nd", "b\t第一\n"), (" 3.5\n", "d\t三点五\n")):
            process.stdin.write(sent.encode())
            process.stdin.flush()
            assert process.stdout.readline() == answer.encode()
        process.stdin.write(b"e 5")
        process.stdin.close()
        assert process.stdout.read() == "e\t五\n".encode()
        assert b"standard input:3: id 'c/'" in process.stderr.read()
        watchdog.cancel()
    assert process.returncode == 3


def test_normalize_verb_leaves_no_part_in_a_file_that_it_prints_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "funrecipe", "normalize", "-", "-"]
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(command, input=b"a 1\nb \xff\n", stdout=out, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3 and (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize("content, where", [(b"a \xff\n", "in:1"), ("a 好\n \n".encode(), "in:2")])
def test_normalize_verb_names_the_bad_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, where: str
) -> None:
    (tmp_path / "in").write_bytes(content)
    assert cli.main(["normalize", str(tmp_path / "in"), str(tmp_path / "out")]) == 3
    assert where in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_profiles_are_named_and_versioned() -> None:
    versions = {name: get_profile(name).version for name in PROFILES}
    assert all("+" in version for version in versions.values())
    with pytest.raises(UsageError, match="no normalization profile 'speechoi'"):
        get_profile("speechoi")
