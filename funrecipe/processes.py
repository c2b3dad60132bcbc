"""One run per folder, and no process that outlives the recipe that started it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from funrecipe import lease
from funrecipe.errors import DataError, FunrecipeError, Interrupted
from funrecipe.files import writing
from funrecipe.shared_files import is_shared

log = logging.getLogger(__name__)
LOCK_NAME = ".lock"
PARENT_VARIABLE = "FUNRECIPE_PARENT"  # id of the process that started this one, which must end with it
PARENT_CHECK_S = 0.5
END_GRACE_S = 10.0
ENDS_VARIABLE = "FUNRECIPE_ENDS"  # folder where the launchers of a training on several nodes record how they ended
RETRIED_VARIABLE = "FUNRECIPE_RETRIED"  # set for a job that an earlier attempt of the same command began
LOCK_FD_VARIABLE = "FUNRECIPE_LOCK_FD"  # file descriptor of the lock that the recipe holds, and its commands inherit


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made: two runs in one folder would mix their files.

    The system drops the lock when the process ends, however it ends; the lock file stays. A recipe that holds the lock
    from its first step to its last hands it on to the commands that it starts. On a file system that several machines
    share, the lock is a lease.

    Raises:
        DataError: another process holds it; names that process.
        WriteError: the folder cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock_file = open(folder / LOCK_NAME, "a+", encoding="utf-8")  # noqa: SIM115
    is_leased = is_shared(folder)
    with lock_file as lock, _leased(folder) if is_leased else contextlib.nullcontext():
        if not is_leased and not _is_inherited(lock.fileno()):
            _lock(lock.fileno(), folder)
            _sign(lock, os.getpid())
        yield


def hold_for_recipe(folder: Path) -> None:
    """Lock ``folder`` through the file that the recipe has opened: the lock is the recipe's, and outlives this process.

    Raises:
        DataError: another process holds it. WriteError: the folder cannot be written.
    """
    if is_shared(folder):
        _keep(_acquire(folder, os.getppid()))
        return
    fd = int(os.environ[LOCK_FD_VARIABLE])
    with open(folder / LOCK_NAME, "a+", encoding="utf-8") as lock:
        _lock(fd, folder)
        if not os.path.samestat(os.fstat(fd), os.fstat(lock.fileno())):  # its holder removed it a moment ago
            raise DataError("another run has just ended in this folder", where=str(folder), hint="rerun")
        _sign(lock, os.getppid())


def is_held(folder: Path) -> bool:
    """Whether a run works in the folder."""
    if is_shared(folder):
        holder = lease.read_holder(folder)
        return holder is not None and lease.is_live(folder, holder)
    try:
        with open(folder / LOCK_NAME, "rb") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextlib.contextmanager
def _leased(folder: Path) -> Iterator[None]:
    holder = lease.read_holder(folder)
    if holder is not None and lease.is_ours(holder):
        yield
        return
    ours, is_over = _acquire(folder, os.getpid()), threading.Event()

    def beat() -> None:
        while not is_over.wait(lease.BEAT_S):
            if not ours.beat():
                _lost(ours)

    threading.Thread(target=beat, name="lease", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        ours.release()


def _acquire(folder: Path, pid: int) -> lease.Lease:
    ours = lease.Lease(folder, pid)
    try:
        ours.acquire()
    except lease.HeldError as holder:
        raise _is_busy(folder, str(holder)) from None
    return ours


def _keep(ours: lease.Lease) -> None:
    """Beat in a process of its own, as long as the lease's process runs."""
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    os.closerange(3, 1024)  # the recipe's lock file and pipes
    last = time.monotonic()
    while ours.holder.is_running:
        time.sleep(PARENT_CHECK_S)
        if time.monotonic() - last >= lease.BEAT_S:
            last = time.monotonic()
            if not ours.beat():
                _lost(ours)
                os._exit(0)
    ours.release()
    os._exit(0)


def _lost(ours: lease.Lease) -> None:
    """End the run: its heartbeat was silent for so long that another run took over its lease."""
    print(f"another run has taken over {ours.path.parent}: this one stops", file=sys.stderr, flush=True)
    os.kill(ours.holder.pid, signal.SIGTERM)


def _is_busy(folder: Path, holder: str) -> DataError:
    what = f"another run works in this folder ({holder or 'unknown process'})"
    return DataError(what, where=str(folder), hint="wait for it to end, or choose another --output_dir")


def _lock(fd: int, folder: Path) -> None:
    try:
        _flock(fd)
    except BlockingIOError:
        holder = (folder / LOCK_NAME).read_text(encoding="utf-8", errors="replace").strip()[:200]
        raise _is_busy(folder, holder) from None
    except OSError as error:  # a file system without locks
        log.warning("cannot lock %s (%s): do not start two runs in it", folder, error.strerror)


def _flock(fd: int) -> None:
    """Lock; someone who only looks (``is_held``) has the lock for a moment."""
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sign(lock: TextIO, pid: int) -> None:
    """Say whose lock it is; on a full disk nobody, which does not matter to the lock."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"process {pid} on {socket.gethostname()}\n".encode())


def _is_inherited(fd: int) -> bool:
    """True if the recipe that started this process holds the lock of the same file."""
    inherited = os.environ.get(LOCK_FD_VARIABLE, "")
    try:
        if not inherited.isdecimal() or not os.path.samestat(os.fstat(int(inherited)), os.fstat(fd)):
            return False
        fcntl.flock(int(inherited), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def stop_signals() -> list[signal.Signals]:
    """The signals that ask this process to stop. One that was ignored before (nohup) stays ignored; SIGINT does not,
    since a shell starts its background jobs with it ignored."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in asked if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def noted_signals(note: Callable[[int], object]) -> Iterator[None]:
    """In the block, the signals that ask this process to stop only call ``note`` with their number."""
    is_main = threading.current_thread() is threading.main_thread()  # only there can handlers be set
    asked = stop_signals() if is_main else []
    before = {number: signal.signal(number, lambda number, frame: note(number)) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_on_signals() -> None:
    """From now on the signals that ask this process to stop raise ``KeyboardInterrupt``, so that it cleans up.

    Not in a process of several: their launcher ends them, and one may be waiting in a library for the others.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if "RANK" not in os.environ and threading.current_thread() is threading.main_thread():
        for number in stop_signals():
            signal.signal(number, interrupt)


def end_with_parent() -> None:
    """Send SIGTERM to this process when the one that :data:`PARENT_VARIABLE` names, its parent, is gone.

    A recipe or a launcher that is killed outright (SIGKILL) cannot end what it has started. The variable is removed,
    so that processes started from here do not take it for theirs. Where the signal does not help (a call into a library
    that never returns), the process ends itself.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent.isdecimal() or (int(parent) != os.getppid() and os.path.exists(f"/proc/{parent}")):
        return  # started by hand, or through a wrapper

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_GRACE_S)
        os._exit(Interrupted.exit_code)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


# What torch says when memory is used up: GPU, the libraries of a GPU (cuBLAS, cuDNN, cuFFT; a handle of cuBLAS needs
# some, too), CPU, and oneDNN, whose primitives then have no room for their buffers.
OUT_OF_MEMORY = (
    *("out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED", "`cublasCreate(handle)`"),
    *("can't allocate memory", "not enough memory", "could not create a primitive"),
)

NOT_ON_THIS_CPU = "could not create a primitive descriptor"  # of oneDNN: an LSTM in bf16 without AVX-512, for example


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed because memory ran out; a smaller one may succeed."""
    if isinstance(error, MemoryError):
        return True
    said = str(error)
    return NOT_ON_THIS_CPU not in said and any(words in said for words in OUT_OF_MEMORY)


def return_free_memory() -> None:
    """Give pages that malloc holds and nothing uses back to the system, also those between others, where it can.

    Tensors of ever other sizes leave gaps in the heap, which would otherwise go on growing.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    try:
        hold_for_recipe(Path(sys.argv[1]))
    except FunrecipeError as fault:
        print(fault, file=sys.stderr)
        sys.exit(fault.exit_code)
