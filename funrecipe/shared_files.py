"""File systems that several machines share: which ones they are, and files that another machine wrote a moment ago."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from funrecipe.errors import FunrecipeError

# Locks of the system may not work there, or be dropped late, and attributes are cached.
SHARED_TYPES = frozenset(
    ["9p", "acfs", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs"]
    + ["pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"]
)
MOUNTS = Path("/proc/self/mountinfo")
VARIABLE = "FUNRECIPE_SHARED_FILES"  # true or false: what holds for every folder, whatever its file system
LATE_S = (0.5, 1.0, 2.0, 4.0)

Result = TypeVar("Result")


def is_shared(folder: Path) -> bool:
    """Whether other machines may see the folder, too, by the type of its file system."""
    if said := os.environ.get(VARIABLE, ""):
        return said == "true"
    kind = _type_of(os.path.realpath(folder))
    return kind in SHARED_TYPES or kind.startswith("fuse.")


def seen_late(folder: Path, look: Callable[[], Result]) -> Result:
    """What ``look`` returns. If it raises one of our errors on a shared file system, which may lag behind what another
    machine wrote, it is called again for some seconds."""
    for wait_s in LATE_S if is_shared(folder) else ():
        try:
            return look()
        except FunrecipeError:
            time.sleep(wait_s)
            refresh(folder)
    return look()


def refresh(folder: Path) -> None:
    """Read a folder, so that names which were not there when it was last asked are not taken for missing again."""
    with contextlib.suppress(OSError):
        os.listdir(folder)


def sync_folder(folder: Path) -> None:
    """Make the names of a folder durable, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _type_of(path: str) -> str:
    """The type of the file system that is mounted over ``path``; empty where the system does not say."""
    kind, longest = "", -1
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return ""
    for line in lines:
        mount, _, of_type = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not of_type:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= longest:
            kind, longest = of_type.split(" ")[0], len(point)  # the last mount at a place hides the others
    return kind
