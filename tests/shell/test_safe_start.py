"""Recipes before they have sourced anything, and what of the user's machine must not count."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK_STARTS = {"egs/quickstart/infer.sh", "egs/quickstart/long.sh"}  # they call a recipe beside them
RECIPES = sorted({str(path.relative_to(ROOT)) for path in ROOT.glob("egs/*/*.sh")} - QUICK_STARTS)


def bash(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "bash", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_copy_elsewhere_works_with_the_root_and_says_so_without(recipe: str, tmp_path: Path) -> None:
    copy = tmp_path / "slurm_script"  # as sbatch makes one
    shutil.copy(ROOT / recipe, copy)
    result = bash(copy, "--help", cwd=tmp_path, FUNRECIPE_ROOT="", SLURM_SUBMIT_DIR="")
    assert result.returncode == 2 and "set FUNRECIPE_ROOT to its folder" in result.stderr
    for name in ("FUNRECIPE_ROOT", "SLURM_SUBMIT_DIR"):
        environment = {"FUNRECIPE_ROOT": "", "SLURM_SUBMIT_DIR": "", name: str(ROOT)}
        result = bash(copy, "--help", cwd=tmp_path, **environment)
        if "speechio" in recipe:  # it has no options of its own alone
            assert "funrecipe is not in" not in result.stderr
        else:
            assert result.returncode == 0 and result.stdout.startswith("usage:"), result.stderr


@pytest.mark.parametrize("recipe", sorted({*RECIPES, "egs/quickstart/infer.sh"} - {"egs/speechio/run.sh"}))
def test_a_stage_that_the_recipe_does_not_have_is_an_error(recipe: str) -> None:
    result = bash(recipe, "--stage", "7", "--stop_stage", "9")
    assert result.returncode == 2 and "--stage: '7' is not one of" in result.stderr


@pytest.mark.parametrize("recipe", RECIPES)
def test_without_any_command_nothing_ends_well(recipe: str) -> None:
    result = bash(recipe, "--model", "x", PATH="/nonexistent", PYTHON="")
    assert result.returncode not in (0, 1) and result.stderr


@pytest.mark.parametrize("recipe", [*RECIPES, "egs/quickstart/infer.sh"])
def test_cdpath_does_not_lead_elsewhere(recipe: str, tmp_path: Path) -> None:
    for folder in ("egs/asr", "egs/aishell", "egs/speechio", "egs/TEMPLATE", "egs/gcin_zh", "egs/tiny_zh", "utils"):
        (tmp_path / folder).mkdir(parents=True)
    for library in ("recipe.sh", "train_recipe.sh"):
        (tmp_path / "utils" / library).write_text("echo SOURCED FROM ANOTHER TREE; exit 7\n")
    result = bash(recipe, "--help", CDPATH=f"{tmp_path}:.")
    assert result.returncode == 0 and result.stdout.startswith("usage:"), result.stderr


SCRIPT = 'source "$1/utils/recipe.sh"; run_python -c "import sys, random; print(sys.flags, sys.stdout.encoding)"'


def test_nothing_of_the_users_machine_gets_into_python(tmp_path: Path) -> None:
    for name in ("random", "sitecustomize", "encodings", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the working directory')\n")
    settings = {
        "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONSTARTUP": "random.py",
        "PYTHONIOENCODING": "latin-1", "PYTHONHOME": "/nowhere", "LC_ALL": "POSIX", "PYTHONUTF8": "0",
    }  # fmt: skip
    for path in ("", ":", "x::y:", "::"):
        result = bash("-c", SCRIPT, "recipe", ROOT, cwd=tmp_path, PYTHONPATH=path, **settings)
        assert result.returncode == 0, result.stderr
        assert "inspect=0" in result.stdout and "optimize=0" in result.stdout and "utf8_mode=1" in result.stdout
        assert result.stdout.rstrip().endswith("utf-8")


LOG = 'source "$1/utils/recipe.sh"; log hello; echo "$(ls -l /proc/$$/fd/1)" > "$2"'


def test_closed_output_goes_nowhere_and_output_that_is_full_is_said(tmp_path: Path) -> None:
    result = bash("-c", f'bash -c \'{LOG}\' recipe "{ROOT}" "{tmp_path}/fd" >&- 2>&- <&-')
    assert result.returncode == 0
    assert (tmp_path / "fd").read_text().rstrip().endswith("/dev/null")
    result = bash("-c", f'bash -c \'{LOG}\' recipe "{ROOT}" "{tmp_path}/fd" > /dev/full')
    assert result.returncode == 5 and "No space left on device" in result.stderr


def test_a_command_says_when_its_output_cannot_be_written() -> None:
    command = f'"{sys.executable}" -m funrecipe --help'
    full, closed = bash("-c", f"{command} > /dev/full"), bash("-c", f"{command} >&-")
    assert full.returncode == 5 and "cannot write to standard output: No space left on device" in full.stderr
    assert closed.returncode == 0 and closed.stderr == ""


def test_a_folder_that_begins_with_a_dash(tmp_path: Path) -> None:
    arguments = ["--data_dir=-data", "--output_dir=-out", "--model=-model"]
    result = bash(ROOT / "egs/asr/infer.sh", *arguments, cwd=tmp_path)
    assert result.returncode == 3 and "no data directory '-data'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_recipe_is_whole_or_as_it_was(tmp_path: Path) -> None:
    script = 'source utils/recipe.sh; write_file "$@"; echo written'
    target = tmp_path / "a=b" / "file"
    done = bash("-c", script, "recipe", target, "printf", "%s\\n", "one")
    assert done.returncode == 0 and target.read_text() == "one\n", done.stderr
    for command in (["sh", "-c", "echo two; exit 1"], ["dd", "if=/dev/zero", "of=/dev/full", "count=1"]):
        failed = bash("-c", script, "recipe", target, *command)
        assert failed.returncode == 5 and f"cannot write '{target}'" in failed.stderr and not failed.stdout
        assert target.read_text() == "one\n"
    (tmp_path / "folder").mkdir()
    failed = bash("-c", script, "recipe", tmp_path / "folder", "echo", "one")
    assert failed.returncode == 5 and not list((tmp_path / "folder").iterdir())
