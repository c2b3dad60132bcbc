"""The lock of a folder that several machines share: a file with host, process and a heartbeat.

``.lease`` is created exclusively, which every file system does atomically, and touched every ten seconds. Its holder
counts as gone when its process has ended (seen from its machine) or the file was not touched for a minute.
Times are those of the file system's server, so clocks need not agree. A process that takes over a lease moves it away
first, and a holder that finds its lease moved away (a machine that was suspended) stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from funrecipe.files import temporary_name, writing

NAME = ".lease"
BEAT_S = 10.0
STALE_S = 60.0


@dataclass(frozen=True)
class Holder:
    """A process: ``machine`` is one kernel and one space of process ids, ``started`` tells it from a later one with
    the same id."""

    host: str
    machine: str
    pid: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        return self.machine == _machine()

    @property
    def is_running(self) -> bool:
        """Of a process of this machine."""
        return _started(self.pid) == self.started != ""


class HeldError(Exception):
    """Another process holds the lease."""


class Lease:
    """A lease that this process has for the process ``pid``, itself or one that it works for."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.path = folder / NAME
        self.holder = Holder(socket.gethostname(), _machine(), pid, _started(pid), secrets.token_hex(8))

    def acquire(self) -> None:
        """Raises HeldError, with the holder as text; WriteError: the folder cannot be written."""
        with writing(self.path):
            while not self._create():
                holder = read_holder(self.path.parent)
                is_held = is_live(self.path.parent, holder) if holder else 0 < _age_s(self.path) < STALE_S
                if is_held:
                    raise HeldError(str(holder or "unknown process"))
                self._move_away(holder)

    def beat(self) -> bool:
        """Touch the lease; False where it is another's now."""
        holder = read_holder(self.path.parent)
        if holder is not None and holder.token == self.holder.token:
            with contextlib.suppress(OSError):
                os.utime(self.path)
            return True
        # A server that does not answer for a while has not given the lease to anybody.
        return holder is None and not self._is_away()

    def release(self) -> None:
        holder = read_holder(self.path.parent)
        if holder is not None and holder.token == self.holder.token:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self.holder)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return True

    def _move_away(self, stale: Holder | None) -> None:
        """Take the stale lease away; where it was another's by then, put that back."""
        grave = temporary_name(self.path)
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return
        found = _read(grave)
        if found is not None and (stale is None or found.token != stale.token):
            with contextlib.suppress(FileExistsError):
                os.link(grave, self.path)
        os.unlink(grave)

    def _is_away(self) -> bool:
        try:
            os.stat(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False


def read_holder(folder: Path) -> Holder | None:
    """None: nobody, or a file that cannot be read."""
    return _read(folder / NAME)


def is_live(folder: Path, holder: Holder) -> bool:
    """Whether the holder of the lease can be expected to still work in the folder."""
    return holder.is_running if holder.is_here else _age_s(folder / NAME) < STALE_S


def is_ours(holder: Holder) -> bool:
    """Whether the holder is one of the processes that this one was started by."""
    pid = os.getppid()
    while holder.is_here and pid > 0:
        if pid == holder.pid:
            return holder.is_running
        pid = _parent(pid)
    return False


def _age_s(path: Path) -> float:
    """Seconds since the file was touched, by the clock that stamped it; 0 if it is not there any more."""
    probe = temporary_name(path)
    try:
        probe.write_bytes(b"")
        with open(path, "rb") as file:  # opened: its attributes are then not the cached ones
            return probe.stat().st_mtime - os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        time.sleep(0.05)  # it may be being written
        return None


def _machine() -> str:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from the state on; empty: no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot; empty where there is none, or it has ended."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if len(fields) > 1 else 0
