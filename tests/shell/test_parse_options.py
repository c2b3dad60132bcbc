"""utils/parse_options.sh, driven as a recipe drives it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """\
set -euo pipefail
export LC_ALL=C
source "$1/utils/parse_options.sh"
shift
declare_option model base "model folder"
declare_option njob 64 "jobs" integer
declare_option ncpu "" "threads" integer
declare_option max_failed 0 "failures" count
declare_option batch 8 "batch" positive
declare_option stage 0 "first" integer
declare_option stop_stage 2 "last" integer
declare_option gpu_inference auto "where" "auto|true|false"
declare_option validate true "check first"
declare_option hotword_txt "" "hotwords"
parse_options "$@"
for name in model njob ncpu gpu_inference validate hotword_txt; do printf '%s=%s\\0' "$name" "${!name}"; done
"""
DEFAULTS = {
    "model": "base",
    "njob": "64",
    "ncpu": "",
    "gpu_inference": "auto",
    "validate": "true",
    "hotword_txt": "",
}
NASTY = [
    *("", " ", "two words", "it's", 'a "quoted" one', "$(touch pwned)", "`touch pwned`", "; touch pwned", "$HOME"),
    *("line\nbreak", "back\\slash", "*", "-1", "-x", "a=b", "名字", "${model}", "'; touch pwned; '", "--value"),
]


def parse(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", "-c", SCRIPT, "recipe.sh", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, cwd=cwd, timeout=300)


def options(*arguments: str, cwd: Path | None = None) -> dict[str, str]:
    result = parse(*arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr.decode()
    return dict(item.split("=", 1) for item in result.stdout.decode().split("\0")[:-1])


def test_without_arguments_defaults_stand() -> None:
    assert options() == DEFAULTS


@pytest.mark.parametrize("arguments", [("--njob", "8"), ("--njob=8",)])
def test_both_forms_of_an_option(arguments: tuple[str, ...]) -> None:
    assert options(*arguments) == DEFAULTS | {"njob": "8"}


def test_hyphens_are_underscores() -> None:
    assert options("--hotword-txt", "a", "--gpu-inference=true") == DEFAULTS | {
        "hotword_txt": "a",
        "gpu_inference": "true",
    }


def test_the_last_value_counts() -> None:
    assert options("--njob", "1", "--njob", "2")["njob"] == "2"


@pytest.mark.parametrize("value", NASTY)
def test_values_are_taken_as_they_are_and_never_run(value: str, tmp_path: Path) -> None:
    assert options("--model", value, "--hotword_txt=" + value, cwd=tmp_path) == DEFAULTS | {
        "model": value,
        "hotword_txt": value,
    }
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30))
def test_any_text_survives(value: str) -> None:
    assert options("--model=" + value)["model"] == value


@pytest.mark.parametrize(
    "value", [v for v in NASTY if "\n" not in v and v == v.strip() and not v.startswith(("'", '"'))]
)
def test_a_config_file_is_read_not_run(value: str, tmp_path: Path) -> None:
    config = tmp_path / "my run.conf"
    config.write_text(f"# a comment\n\nnjob=3\nmodel='{value}'\n" if "'" not in value else f'njob=3\nmodel="{value}"\n')
    assert options("--config", str(config), cwd=tmp_path)["model"] == value
    assert options("--config", str(config), cwd=tmp_path)["njob"] == "3"
    assert list(tmp_path.iterdir()) == [config]


def test_config_values_without_quotes_comments_and_windows_line_ends(tmp_path: Path) -> None:
    config = tmp_path / "conf"
    config.write_bytes(b"--njob = 3  # three\r\nmodel=a#b c\nhotword-txt=$(touch pwned)")
    parsed = options("--config", str(config), cwd=tmp_path)
    assert (parsed["njob"], parsed["model"], parsed["hotword_txt"]) == ("3", "a#b c", "$(touch pwned)")
    assert list(tmp_path.iterdir()) == [config]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    for first in ("", "# a comment\n"):
        (tmp_path / "conf").write_text(f"{first}njob=3\n", encoding="utf-8-sig")
        assert options("--config", str(tmp_path / "conf"))["njob"] == "3"


def test_a_flag_counts_more_than_the_config_file_wherever_it_stands(tmp_path: Path) -> None:
    config = tmp_path / "conf"
    config.write_text("njob=3\nmodel=c\n")
    assert options("--njob", "5", "--config", str(config)) == DEFAULTS | {"njob": "5", "model": "c"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--modle", "x"), "did you mean --model?"),
        (("--gpu_infrence=true",), "did you mean --gpu_inference?"),
        (("--zzzzzzzzzz", "1"), "unknown option --zzzzzzzzzz"),
        (("--PATH", "x"), "unknown option --PATH"),
        (("--option_names", "x"), "unknown option --option_names"),
        (("--model[$(touch pwned)]", "x"), "unknown option"),
        (("--model",), "--model has no value"),
        (("--model", "--njob", "2"), "--model has no value"),
        (("--model", "--njob=2"), "--model has no value"),
        (("--validate", "True"), "'True' is not one of true, false"),
        (("--validate", "true|false"), "'true|false' is not one of"),
        (("--gpu_inference", "yes"), "'yes' is not one of auto, true, false"),
        (("--njob", "many"), "'many' is not a whole number"),
        (("--njob", ""), "'' is not a whole number"),
        (("--njob", "1+1"), "'1+1' is not a whole number"),
        (("--njob", "9" * 20), "is not a whole number"),  # bash would compare nothing, and run no stage
        (("--max_failed", "-1"), "'-1' is not a whole number of 0 or more"),
        (("--stage", "3", "--stop_stage", "2"), "no stage from 3 to 2"),
        (("--batch", "0"), "'0' is not a whole number of 1 or more"),
        (("--stage", "0", "--stop_stage", "-1"), "no stage from 0 to -1"),
        (("stray",), "unexpected argument 'stray'"),
        (("--config", "/does/not exist"), "no configuration file '/does/not exist'"),
    ],
)
def test_mistakes_are_named_and_end_with_exit_code_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = parse(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr.decode()
    assert result.stdout == b""
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_config_file_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "conf"
    for line, said in [("nojb=3", "conf:2: nojb"), ("touch pwned", "conf:2: 'touch pwned' is not name=value")]:
        config.write_text(f"model=x\n{line}\n")
        result = parse("--config", str(config), cwd=tmp_path)
        assert result.returncode == 2
        assert said in result.stderr.decode()


def test_help_shows_every_option_with_its_default() -> None:
    result = parse("--help")
    assert result.returncode == 0
    text = result.stdout.decode()
    for line in ["--model              model folder (default: base)", "jobs [integer] (default: 64)",
                 "where [auto|true|false] (default: auto)", "check first [true|false] (default: true)"]:  # fmt: skip
        assert line in text


@pytest.mark.parametrize(
    ("arguments", "stages"),
    [((), "0 2"), (("--stage", "3"), "3 3"), (("--stage", "2"), "2 2"), (("--stage", "1", "--stop_stage", "4"), "1 4")],
)
def test_a_stage_after_the_last_one_is_run_alone(arguments: tuple[str, ...], stages: str) -> None:
    script = SCRIPT.rpartition("for name in")[0] + 'echo "$stage $stop_stage ${option_given[stage]:-}"'
    command = ["bash", "-c", script, "recipe.sh", str(ROOT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.stdout.split() == [*stages.split(), *(["yes"] if arguments else [])]
