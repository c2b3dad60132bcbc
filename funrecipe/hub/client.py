"""A small client of ModelScope's model API. Only ``funrecipe download`` uses it.

    GET /api/v1/models/<id>/repo/files?Revision=<r>&Recursive=True   -> {"Code": 200, "Data": {"Files": [
                                    {"Path": ..., "Type": "blob"|"tree", "Size": ..., "Sha256": ...}]}}
    GET /api/v1/models/<id>/repo?Revision=<r>&FilePath=<path>        -> the file; answers Range requests

A file is written under ``<name>.part``, checked against its SHA-256 and then renamed; an interrupted
download resumes. ``RECORD_NAME`` holds the checksums of what was downloaded.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from funrecipe.errors import DataError, UnsafeFileError, UsageError
from funrecipe.files import sha256_of, write_text, writing

DEFAULT_URL = "https://www.modelscope.cn"
RECORD_NAME = ".funrecipe_download.json"
MODEL_ID = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+")
BLOCK_BYTES = 1 << 20
ATTEMPTS = 5
TIMEOUT_S = 60.0
SLOWEST_BYTES_PER_S = 1000  # over the whole of a file
MAX_LIST_BYTES = 64 << 20
TRANSIENT = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class RemoteFile:
    path: str
    size: int | None
    sha256: str | None


def hub_url(given: str | None = None) -> str:
    """``given``, else ``$FUNRECIPE_HUB``, else ModelScope's own ``$MODELSCOPE_DOMAIN``, else the public hub."""
    url = given or os.environ.get("FUNRECIPE_HUB") or os.environ.get("MODELSCOPE_DOMAIN") or DEFAULT_URL
    if "://" not in url:
        url = f"{'http' if url.startswith(('127.', 'localhost')) else 'https'}://{url}"
    url = url.rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"'{url}' is not an HTTP(S) URL", where="--hub_url or FUNRECIPE_HUB")
    return url


class HubClient:
    """Downloads models from a hub.

    Args:
        base_url: address of the hub.
        retry_wait_s: pause before the second attempt; doubles with each further one.
        say: called with one line per file.
    """

    def __init__(self, base_url: str, *, retry_wait_s: float = 1.0, say: Callable[[str], None] = print) -> None:
        self._base_url, self._retry_wait_s, self._say = base_url, retry_wait_s, say

    def download(self, model_id: str, revision: str, dest: Path) -> dict[str, str]:
        """Download every file of a model to ``dest``; files already there and unchanged are not fetched again.

        Returns:
            SHA-256 by path.

        Raises:
            DataError: no such model or revision, the hub cannot be reached, or a checksum mismatch. WriteError:
                ``dest`` cannot be written. What was fetched stays, and a second call resumes from there.
        """
        checksums = {}
        files = self.list_files(model_id, revision)
        with writing(dest):
            dest.mkdir(parents=True, exist_ok=True)
            for number, file in enumerate(files, 1):
                size = "" if file.size is None else f" ({file.size / 1e6:.1f} MB)"
                self._say(f"[{number}/{len(files)}] {file.path}{size}")
                target = dest / file.path
                checksums[file.path] = self._present(file, target) or self._fetch(model_id, revision, file, target)
                self._say(f"  sha256 {checksums[file.path]}")
            record = {"model_id": model_id, "revision": revision, "sha256": checksums}
            write_text(dest / RECORD_NAME, json.dumps(record, indent=1, sort_keys=True) + "\n")
        return checksums

    def list_files(self, model_id: str, revision: str) -> list[RemoteFile]:
        """The files of a model, sorted by path.

        Raises:
            UsageError: not an id of a model.
            DataError: the hub has no such model or revision, or its answer is not valid.
            UnsafeFileError: a path leaves the model's folder.
        """
        if not MODEL_ID.fullmatch(model_id):
            raise UsageError(f"'{model_id}' is not a model id", hint="give NAMESPACE/NAME, such as damo/speech_...")
        query = urllib.parse.urlencode({"Revision": revision, "Recursive": "True"})
        url = f"{self._model_url(model_id)}/repo/files?{query}"
        try:
            answer: Any = json.loads(self._retry(url, lambda: self._get(url)))
            rows = [row for row in answer["Data"]["Files"] if row.get("Type") != "tree"]
            files = [
                RemoteFile(
                    str(row["Path"]),
                    None if row.get("Size") is None else int(row["Size"]),
                    str(row.get("Sha256") or "") or None,
                )
                for row in rows
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError("the hub's answer is not a list of files", where=url) from None
        if not files:
            raise DataError(f"the model '{model_id}' has no files in revision '{revision}'", where=url)
        for file in files:
            parts = PurePosixPath(file.path).parts
            outside = not parts or ".." in parts or file.path.startswith("/") or "\\" in file.path
            if outside or not file.path.isprintable():
                raise UnsafeFileError(f"the hub names a file outside the model folder: {file.path!r}", where=url)
        return sorted(files, key=lambda file: file.path)

    def _model_url(self, model_id: str) -> str:
        return f"{self._base_url}/api/v1/models/{urllib.parse.quote(model_id)}"

    def _present(self, file: RemoteFile, target: Path) -> str | None:
        """The checksum of an earlier complete download, or None."""
        if file.sha256 is None or not target.is_file():
            return None
        fault, digest = _fault(target, file)
        return None if fault else digest

    def _fetch(self, model_id: str, revision: str, file: RemoteFile, target: Path) -> str:
        query = urllib.parse.urlencode({"Revision": revision, "FilePath": file.path})
        url = f"{self._model_url(model_id)}/repo?{query}"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        resumed = part.exists()
        self._retry(url, lambda: self._append(url, part, file.size))
        fault, digest = _fault(part, file)
        if fault and resumed:  # the rest of an older revision: start again
            part.unlink()
            self._retry(url, lambda: self._append(url, part, file.size))
            fault, digest = _fault(part, file)
        if fault:
            part.unlink()
            raise DataError(f"checksum mismatch for '{file.path}': {fault}", where=url, hint="rerun the command")
        os.replace(part, target)
        return digest

    def _append(self, url: str, part: Path, size: int | None) -> None:
        """Fetch the missing part of a file, or all of it; what arrives is kept even if the connection breaks."""
        have = part.stat().st_size if part.exists() else 0
        if size is None or have > size:  # nothing to resume from
            have = 0
        if have == size:
            part.touch()
            return
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            begins = response.headers.get("Content-Range") or f"bytes {have}-"
            if response.status != http.client.PARTIAL_CONTENT or not begins.startswith(f"bytes {have}-"):
                have = 0  # a server, or a proxy before it, that sends the whole file
            with open(part, "ab" if have else "wb") as output:
                self._copy(response, output, url, None if size is None else size - have)
            if response.length:  # bytes that were announced but not sent
                raise http.client.IncompleteRead(b"", response.length)

    def _copy(self, response: Any, output: BinaryIO, url: str, expected: int | None) -> None:
        """Write a body, block by block; raises DataError if it is longer than listed, or arrives too slowly."""
        started, received = time.monotonic(), 0
        while block := response.read1(BLOCK_BYTES):
            received += len(block)
            if expected is not None and received > expected:
                raise DataError(f"the hub sends more than the {expected} bytes it listed", where=url)
            elapsed_s = time.monotonic() - started
            if elapsed_s > TIMEOUT_S and received < elapsed_s * SLOWEST_BYTES_PER_S:
                raise DataError(
                    f"the hub sends only {received / elapsed_s:.0f} bytes per second",
                    where=url,
                    hint="rerun later to resume",
                )
            output.write(block)

    def _get(self, url: str) -> bytes:
        """A body of limited size. Raises DataError."""
        body = BytesIO()
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            self._copy(response, body, url, MAX_LIST_BYTES)
        return body.getvalue()

    def _retry(self, url: str, action: Callable[[], Any]) -> Any:
        """Run ``action``; retry if the connection or the server fails, give up if the request is refused."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != http.client.TOO_MANY_REQUESTS:
                    raise _refusal(error, url) from None
                reason = f"HTTP {error.code}"
            except ValueError as error:  # such as a redirect to an invalid address
                raise DataError(f"the hub's answer cannot be followed: {error}", where=url) from None
            except TRANSIENT as error:
                reason = str(getattr(error, "reason", error))
            if attempt < ATTEMPTS:
                self._say(f"{reason}; attempt {attempt + 1} of {ATTEMPTS}")
                time.sleep(self._retry_wait_s * 2 ** (attempt - 1))
        raise DataError(
            f"the hub did not answer after {ATTEMPTS} attempts: {reason}",
            where=url,
            hint="rerun later to resume",
        )


def recorded_revision(folder: Path) -> str | None:
    """The revision that ``funrecipe download`` or ModelScope's client (``.mv``) put in a folder, or None."""
    try:
        record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        return str(record["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        found = re.match(r"Revision:([^,\s]+)", (folder / ".mv").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _refusal(error: urllib.error.HTTPError, url: str) -> DataError:
    if error.code == http.client.NOT_FOUND:
        return DataError("the hub has no such model, revision or file", where=url, hint="check the id and --revision")
    return DataError(f"the hub refused: HTTP {error.code} {error.reason}", where=url)


def _fault(part: Path, file: RemoteFile) -> tuple[str | None, str]:
    """What is wrong with a fetched file, or None, and its SHA-256."""
    size, digest = part.stat().st_size, sha256_of(part)
    if file.size is not None and size != file.size:
        return f"{size} bytes instead of {file.size}", digest
    if file.sha256 is not None and digest != file.sha256.lower():
        return f"sha256 {digest} instead of {file.sha256}", digest
    return None, digest
