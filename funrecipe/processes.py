"""One run per folder, and no process that outlives the recipe that started it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from funrecipe.errors import DataError

log = logging.getLogger(__name__)
LOCK_NAME = ".lock"
PARENT_VARIABLE = "FUNRECIPE_PARENT"  # process id of who started this process and wants it to end when it dies
PARENT_CHECK_S = 0.5


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made: two runs in one folder would mix their files.

    The system drops the lock when the process ends, however it ends; the lock file stays.

    Raises:
        DataError: another process holds it; names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DataError(
                f"another run works in this folder ({lock.read().strip() or 'unknown process'})",
                where=str(folder),
                hint="wait for it to end, or choose another --output_dir",
            ) from None
        except OSError as error:  # a file system without locks
            log.warning("cannot lock %s (%s): do not start two runs in it", folder, error.strerror)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield


def end_with_parent() -> None:
    """Send SIGTERM to this process when the one that :data:`PARENT_VARIABLE` names, its parent, is gone.

    A recipe that is killed outright (SIGKILL) cannot end what it has started. The variable is removed, so that
    processes started from here do not take it for theirs.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent != str(os.getppid()):  # started by hand, or through a wrapper
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


# What torch says when memory is used up: GPU, CPU, and oneDNN, whose primitives then have no room for their buffers.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "could not create a primitive")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory; another, smaller one may succeed."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)
