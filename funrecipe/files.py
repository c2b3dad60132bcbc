"""Files that are whole or absent: written under a temporary name, then renamed. Checksums; links replaced in one step.

Temporary names carry the host and a random part, because several machines may write to one folder. What a killed
process left behind goes by :func:`remove_leftovers`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from funrecipe.errors import WriteError

MARK = ".tmp-"
BLOCK_BYTES = 1 << 20
SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
HINTS = {
    errno.ENOSPC: "make room on that disk and rerun; everything written before is intact",
    errno.EDQUOT: "the quota is used up; make room and rerun",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.EACCES: "check the permissions, or choose another folder",
}


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process uses, on this host or another."""
    host = socket.gethostname().split(".")[0] or "host"
    return path.with_name(f".{path.name}{MARK}{host}-{secrets.token_hex(4)}")


def remove_leftovers(*folders: Path) -> int:
    """Remove temporary files and folders in ``folders`` that were never renamed; returns how many.

    To be called when nobody else writes there.
    """
    found = [path for folder in folders for path in folder.glob(f".*{MARK}*")]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)


def is_published_in_place(path: Path) -> bool:
    """True for a link, a pipe or a device (``/dev/stdout``), which is written to and never replaced."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def special_file(path: Path | str) -> str | None:
    """What ``path`` is if reading it may never end: a named pipe, a device, a socket; else None, so for no file too."""
    try:
        return SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def atomic_write(
    path: Path | str, mode: str = "w", *, is_durable: bool = False, replaces_link: bool = False
) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` and rename it to ``path`` when the block ends without an error.

    A reader sees the old content or the new content, never a part. The parent folder is made.

    Args:
        mode: ``w`` (UTF-8, newlines as given; bytes that are not UTF-8 survive as surrogates) or ``wb``.
        is_durable: flush to the disk before the rename, so that a power cut does not leave an empty file.
        replaces_link: a link is replaced, too; otherwise what it points to is written.

    Raises:
        WriteError: the disk is full, read-only, not permitted; the old file is still there.
    """
    path = Path(path)
    in_place = is_published_in_place(path) and not (replaces_link and path.is_symlink())
    target = path if in_place else temporary_name(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(target, mode, **text) as stream:  # type: ignore[call-overload]
                yield stream
                if is_durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            if not in_place:
                os.replace(target, path)
    finally:
        if not in_place:
            with contextlib.suppress(OSError):
                target.unlink()


def unique_name(name: str, taken: Container[str]) -> str:
    """``name``, or ``name_2``, ``name_3`` ..., the first that is not taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([name], numbered) if candidate not in taken)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder that replaces ``path`` and everything in it when the block ends without an error.

    Raises:
        WriteError: a folder cannot be made or replaced.
    """
    new = temporary_name(path)
    with writing(path):
        new.mkdir(parents=True)
    try:
        yield new
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            os.replace(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_text(path: Path | str, chunks: str | Iterable[str]) -> None:
    """Publish UTF-8 text. Raises WriteError."""
    with atomic_write(path) as stream:
        stream.writelines([chunks] if isinstance(chunks, str) else chunks)


def write_json(path: Path | str, value: object) -> None:
    """Publish a value as indented JSON. Raises WriteError; NaN and infinity are not JSON and raise ``ValueError``."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def replace_link(link: Path, target: str) -> None:
    """Point ``link`` at ``target`` in one step. Raises WriteError."""
    temporary = temporary_name(link)
    with writing(link):
        temporary.symlink_to(target)
        os.replace(temporary, link)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there. Raises WriteError, also if it cannot be written in."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """A block whose ``OSError`` means that ``path`` cannot be written. Raises WriteError."""
    try:
        yield
    except OSError as error:
        raise write_error(error, path) from error


def write_error(error: OSError, path: Path | str) -> WriteError:
    """What an ``OSError`` means to the user: the reason, the path, and what to do."""
    return WriteError(
        f"cannot write {Path(path).name}: {error.strerror or error}",
        where=str(path),
        hint=HINTS.get(error.errno or 0, "check the path and its permissions"),
    )


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
