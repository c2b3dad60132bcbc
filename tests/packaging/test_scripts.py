"""Set-up and shell scripts: which Python they run, and that they are sound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("egs/**/*.sh", "utils/*.sh", "tools/**/*.sh", ".ci/*")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_never_evaluate_text(script: str) -> None:
    lines = (ROOT / script).read_text(encoding="utf-8").splitlines()
    code = [line.split("#")[0] for line in lines]
    assert not [
        line for line in code if line.lstrip().startswith(("eval ", ". ")) or "; eval " in line or "bash -c" in line
    ]


def chosen_python(tmp_path: Path, *, with_venv: bool, variable: str | None) -> str:
    """What utils/recipe.sh takes for Python in a copy of the repository's shell library."""
    (tmp_path / "utils").mkdir()
    for name in ("recipe.sh", "parse_options.sh"):
        (tmp_path / "utils" / name).write_text((ROOT / "utils" / name).read_text())
    if with_venv:
        (tmp_path / ".venv/bin").mkdir(parents=True)
        (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    if variable:
        environment["PYTHON"] = variable
    script = 'source "$1/utils/recipe.sh"; printf "%s\\n" "$PYTHON" "$PYTHONPATH" "$LC_ALL" "$PYTHONUTF8"'
    result = subprocess.run(
        ["bash", "-c", script, "x", str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    python, path, locale, utf8 = result.stdout.splitlines()
    assert path.split(":")[0] == str(tmp_path)
    assert (locale, utf8) == ("C", "1")
    return python


def test_which_python_recipes_run(tmp_path: Path) -> None:
    for name, with_venv, variable, expected in [
        ("a", True, "/my/python", "/my/python"),
        ("b b", True, None, "{root}/.venv/bin/python"),
        ("c", False, None, "python3"),
    ]:
        root = tmp_path / name
        root.mkdir()
        assert chosen_python(root, with_venv=with_venv, variable=variable) == expected.format(root=root)


def test_setup_refuses_unknown_options() -> None:
    result = subprocess.run(["bash", str(ROOT / "tools/setup.sh"), "--devel"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "unknown option '--devel'" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_recipe_runs_through_a_link_and_with_any_shell(shell: str, tmp_path: Path) -> None:
    link = tmp_path / "my recipe.sh"
    link.symlink_to(ROOT / "egs/asr/infer.sh")
    result = subprocess.run([shell, str(link), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--data_dir" in result.stdout


def test_a_python_that_cannot_run_us_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text("a /nowhere.wav\n")
    # A Python without the packages that .venv has: no site-packages.
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    recipe = ["bash", str(ROOT / "egs/asr/infer.sh"), "--data_dir", "data", "--model", "m"]
    for python, said in [(str(bare), "has no package '"), ("/no/python", "no Python '/no/python'")]:
        result = subprocess.run(
            recipe, cwd=tmp_path, env={**os.environ, "PYTHON": python}, capture_output=True, text=True
        )
        assert result.returncode == 2, result.stderr
        assert said in result.stderr and "tools/setup.sh" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/no/python", "no Python '/no/python'"),
        ("#!/bin/sh\nexit 1\n", "older than Python 3.11"),
        ('#!/bin/sh\ncase "$*" in *venv*) exit 1;; esac\n', "apt-get install python3-venv"),
    ],
)
def test_setup_says_what_a_machine_lacks(python: str, said: str, tmp_path: Path) -> None:
    for name in ("tools/setup.sh", "requirements.txt", "setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    if python.startswith("#!"):
        (tmp_path / "python").write_text(python)
        (tmp_path / "python").chmod(0o755)
        python = str(tmp_path / "python")
    result = subprocess.run(
        ["bash", str(tmp_path / "tools/setup.sh")],
        env={**os.environ, "FUNRECIPE_PYTHON": python},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and said in result.stderr
    assert not list(tmp_path.glob(".venv/.funrecipe-*"))  # the next call tries again


def test_setup_says_what_to_do_without_a_package_index(tmp_path: Path) -> None:
    """pip is kept from every index."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/setup.sh", "setup.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "requirements.txt").write_text("no-such-package-of-funrecipe==1\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text(
        f'#!/bin/sh\ncase "$*" in *install*) exec "{sys.executable}" "$@" --no-index --dry-run;; esac\nexit 0\n'
    )
    (tmp_path / ".venv/bin/python").chmod(0o755)
    environment = {**os.environ, "FUNRECIPE_PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull}
    result = subprocess.run(["bash", str(tmp_path / "tools/setup.sh")], env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "package index" in result.stderr, result.stderr
    assert not list(tmp_path.glob(".venv/.funrecipe-*"))
