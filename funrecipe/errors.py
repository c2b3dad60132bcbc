"""One tree of errors, each kind with the exit code that every command returns for it.

====  ==================  =====================================================
code  class               meaning
====  ==================  =====================================================
0                         success
2     UsageError          an option, a configuration key or a call is wrong
3     DataError           user data (lists, audio, text, model folder) is wrong
4     IncompleteRunError  not every utterance is accounted for; nothing published
5     WorkerError         a decode or training process died
5     WriteError          a result cannot be written: disk full, read-only, not permitted
6     UnsafeFileError     a file wants to run code (pickle, pipe, YAML tag)
130   Interrupted         stopped by Ctrl-C or SIGTERM
====  ==================  =====================================================
"""

from __future__ import annotations

import difflib
import errno
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

MAX_LISTED_PROBLEMS = 10
MAX_LISTED_NAMES = 40


class FunrecipeError(Exception):
    """What is wrong, where, and what to do, one line each.

    Args:
        what: the problem, with the value as given.
        where: ``file:line``, a path or an option name.
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        lines = [what]
        if where:
            lines.append(f"  at: {where}")
        if hint:
            lines.append(f"  do: {_as_it_runs_here(hint)}")
        super().__init__("\n".join(lines))


def _as_it_runs_here(hint: str) -> str:
    """``funrecipe VERB`` of a hint as the user can paste it, whether the environment is activated or not."""
    if "funrecipe " not in hint or shutil.which("funrecipe"):
        return hint
    script = Path(sys.prefix, "bin", "funrecipe")
    command = shlex.quote(str(script)) if script.exists() else f"{shlex.quote(sys.executable)} -m funrecipe"
    return re.sub(r"(?<![\w/-])funrecipe (?=[a-z])", f"{command} ", hint)


class UsageError(FunrecipeError):
    exit_code = 2


class DataError(FunrecipeError):
    exit_code = 3


class IncompleteRunError(FunrecipeError):
    exit_code = 4


class WorkerError(FunrecipeError):
    exit_code = 5


class WriteError(WorkerError):
    """A file cannot be written; what was there before is intact."""


def exit_code_of(error: OSError) -> int:
    """That of a file which cannot be written (the disk is full, say) or, else, of one which cannot be read."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return WriteError.exit_code if is_full else DataError.exit_code


class UnsafeFileError(FunrecipeError):
    exit_code = 6


class Interrupted(FunrecipeError):
    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The hint ``did you mean 'x'?`` for the known name nearest to ``name``, or None."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else None


def unknown_name(what: str, name: str, known: Iterable[str], *, where: str | None = None) -> UsageError:
    """The error ``<what> 'name'`` for a name that is not among ``known``; its hint is the nearest, or all of a few."""
    names = list(known)
    every = f"use one of: {', '.join(names)}" if len(names) <= MAX_LISTED_NAMES else None
    return UsageError(f"{what} '{name}'", where=where, hint=did_you_mean(name, names) or every)


def count(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def list_problems(problems: Sequence[str]) -> str:
    """The first problems, one a line, and how many more there are."""
    shown = [f"  {p}" for p in problems[:MAX_LISTED_PROBLEMS]]
    if len(problems) > MAX_LISTED_PROBLEMS:
        shown.append(f"  ... and {len(problems) - MAX_LISTED_PROBLEMS} more")
    return "\n".join(shown)
