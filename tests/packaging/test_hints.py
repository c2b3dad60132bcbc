"""The command in a hint runs as it is printed."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from funrecipe.errors import DataError


def test_the_command_of_a_hint_runs_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    hint = str(DataError("the model is not on disk", hint="funrecipe download --help")).splitlines()[-1]
    command = shlex.split(hint.strip().removeprefix("do: "))
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_hint_without_a_command_stays_as_it_is() -> None:
    error = DataError("wrong", hint="give funrecipe's own name; a funrecipe-model is fine")
    assert str(error).endswith("do: give funrecipe's own name; a funrecipe-model is fine")
