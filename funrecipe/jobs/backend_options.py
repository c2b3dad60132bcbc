"""Options of back ends: the flags of the recipes, and the Slurm settings in a file of the user.

The file is YAML with a few known keys; nothing in it is executed, and each value becomes one argument of ``sbatch``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from funrecipe.errors import UsageError, did_you_mean

LEAVE = "leave"
TRAIN = "train"  # the key of the settings for training only


@dataclass(frozen=True)
class BackendOptions:
    """Flags of ``funrecipe launch`` that only some back ends use.

    Attributes:
        opts_file: Slurm's settings; None: ``~/.config/funrecipe/slurm.yaml`` where it is.
        launcher: a Kaldi-style launcher with its options, split as a shell would, run without one.
        max_retries: how often a job that a retry may help is submitted again.
        on_interrupt: ``cancel`` or ``leave``; empty: ask on a terminal, and cancel without one.
    """

    opts_file: Path | None = None
    launcher: str = ""
    max_retries: int = 1
    on_interrupt: str = ""


@dataclass(frozen=True)
class SlurmOptions:
    """Settings of ``sbatch``; empty: the cluster's default.

    Attributes:
        mem: memory of a decoding job, or of each training process (``4G``); empty: estimated.
        cpus: cores, likewise.
        max_jobs: most jobs that run at once, 0: as many as the cluster lets run.
        extra: further options, written as on the command line (``--reservation=asr``).
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    time: str = ""
    mem: str = ""
    cpus: int = 0
    gres: str = ""
    constraint: str = ""
    exclude: str = ""
    max_jobs: int = 0
    extra: tuple[str, ...] = field(default=())

    @property
    def asks_for_gpus(self) -> bool:
        return any(entry.startswith("--gpus") for entry in self.extra)


_WORD = re.compile(r"[^\s-]\S*")
_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}|UNLIMITED|INFINITE", re.IGNORECASE)
_MEMORY = re.compile(r"\d+[KMGT]?", re.IGNORECASE)
_PATTERNS = {
    "partition": (_WORD, "the name of a partition, or several with commas"),
    "account": (_WORD, "the name of an account"),
    "qos": (_WORD, "the name of a quality of service"),
    "time": (_TIME, "minutes, or like 12:00:00 or 2-00:00:00"),
    "mem": (_MEMORY, "a size like 4G or 4000M"),
    "gres": (_WORD, "like gpu:1"),
    "constraint": (re.compile(r"[^\s-][^\n]*"), "features of nodes, like a100"),
    "exclude": (_WORD, "nodes, like n[1-3],n7"),
}
_NUMBERS = ("cpus", "max_jobs")
# Options that the back end sets itself; setting them twice would only break the run.
_OURS = (
    *("array", "chdir", "cpus-per-task", "dependency", "error", "export", "hold", "input", "job-name", "no-requeue"),
    *("nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "requeue", "test-only", "wait", "wrap"),
)


def default_opts_file() -> Path:
    """``$XDG_CONFIG_HOME/funrecipe/slurm.yaml``, by default under ``~/.config``."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder).expanduser() / "funrecipe" / "slurm.yaml"


def read_slurm_options(path: Path | None, section: str = "") -> SlurmOptions:
    """The settings in ``path``; None: in the user's file, if there is one.

    Args:
        section: ``train``: those under ``train:`` over the others.

    Raises:
        UsageError: the file cannot be read, is not a mapping, or has an unknown key or an invalid value.
    """
    if path is None:
        path = default_opts_file()
        if not path.exists():
            return SlurmOptions()
    import yaml

    try:
        # This loader makes texts, lists and mappings only: safe, and 12:00:00 stays what it is (not 43200).
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        hint = "name a file that is there and can be read"
        raise UsageError(f"cannot read the settings of Slurm: {error.strerror}", where=str(path), hint=hint) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the settings of Slurm are not YAML: {error}", where=str(path)) from None
    if loaded is None or loaded == "":
        return SlurmOptions()
    if not isinstance(loaded, dict):
        raise UsageError("the settings of Slurm are not 'key: value' lines", where=str(path))
    parts = {TRAIN: loaded.pop(TRAIN, None) or {}, "": loaded}
    if not isinstance(parts[TRAIN], dict):
        raise UsageError(f"'{TRAIN}' is not a mapping", where=str(path), hint="write 'key: value' lines below it")
    places = {TRAIN: f"{path}: {TRAIN}", "": str(path)}
    values = {part: {n: _value(n, v, places[part]) for n, v in lines.items()} for part, lines in parts.items()}
    return SlurmOptions(**{**values[""], **(values[TRAIN] if section == TRAIN else {})})


def _value(name: object, value: object, place: str) -> Any:
    known = [field.name for field in fields(SlurmOptions)]
    where = f"{place}: {name}"
    if name not in known:
        hint = did_you_mean(str(name), known) or f"use one of {', '.join([*known, TRAIN])}"
        raise UsageError(f"'{name}' is not a setting", where=place, hint=hint)
    if name == "extra":
        return _extra(value, where)
    if not isinstance(value, str):
        raise UsageError("the value is not a text or a number", where=where)
    if name in _NUMBERS:
        if not re.fullmatch(r"[0-9]{1,9}", value) or (name == "cpus" and int(value) < 1):
            raise UsageError(f"'{value}' is not a positive number", where=where)
        return int(value)
    pattern, like = _PATTERNS[str(name)]
    if value and not pattern.fullmatch(value):
        raise UsageError(f"'{value}' is not {like}", where=where, hint=f"write {like}")
    return value


def _extra(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise UsageError("the value is not a list of options", where=where, hint='write it like ["--reservation=asr"]')
    for entry in value:
        name = entry.removeprefix("--").split("=", 1)[0]
        if not re.fullmatch(r"--[a-z][a-z0-9-]*(=[^\n]*)?", entry):
            raise UsageError(f"'{entry}' is not an option of sbatch", where=where, hint="write it as --name=value")
        if name in _OURS:
            raise UsageError(f"--{name} is set by the back end", where=where, hint="leave it out")
        if name in _PATTERNS:
            raise UsageError(f"--{name} has a key of its own", where=where, hint=f"write '{name}: ...'")
    return tuple(value)
