"""``funrecipe download`` against a small server on loopback that speaks the hub's API and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

from funrecipe import hub
from funrecipe.cli import main
from funrecipe.errors import DataError, UnsafeFileError
from funrecipe.hub import client as hub_client

MODEL = "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"
WEIGHTS = bytes(range(256)) * 4000
FILES = {"configuration.json": b"{}", "config.yaml": b"model: paraformer\n", "model.pb": WEIGHTS, "sub/a b.txt": b"x"}


class Hub(BaseHTTPRequestHandler):
    """Attributes of the server: ``files``, ``cut`` (bytes after which each first answer breaks off), ``log``, ``whole``
    (status with which it sends whole files where a part was asked for)."""

    def do_GET(self):
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.server.log.append((url.path.rsplit("/", 1)[-1], query.get("FilePath"), self.headers.get("Range")))
        if not url.path.startswith(f"/api/v1/models/{MODEL}/repo") or query["Revision"] not in ("master", "v1"):
            self.send_error(404)
        elif url.path.endswith("/repo/files"):
            rows = [
                {"Path": path, "Name": path, "Type": "blob", "Size": len(data), "Sha256": self.server.sha256(path)}
                for path, data in self.server.files.items()
            ]
            rows.append({"Path": "sub", "Type": "tree"})
            self.answer(200, json.dumps({"Code": 200, "Data": {"Files": rows}}).encode())
        else:
            self.answer_file(query["FilePath"])

    def answer_file(self, path):
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
            return
        data = self.server.files[path]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if self.server.whole is not None and start:
            self.answer(self.server.whole, data, ranged=f"bytes 0-{len(data) - 1}/{len(data)}")
            return
        self.answer(206 if start else 200, data[start:], cut=self.server.cut.pop(path, None))

    def answer(self, status, body, cut=None, ranged=None):
        self.send_response(status)
        if status == 206 and ranged is not None:
            self.send_header("Content-Range", ranged)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.cut, server.log, server.busy, server.whole = dict(FILES), {}, [], 0, None
    server.sha256 = lambda path: hashlib.sha256(server.files[path]).hexdigest()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("FUNRECIPE_HUB", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("FUNRECIPE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(server):
    return hub_client.HubClient(hub_client.hub_url(), retry_wait_s=0, say=lambda line: None)


def test_download_then_resolve(server, tmp_path, capsys):
    with pytest.raises(DataError, match=f"funrecipe download {MODEL}"):
        hub.resolve_model(MODEL)
    assert main(["download", MODEL]) == 0
    folder = tmp_path / "models" / MODEL
    assert {p: (folder / p).read_bytes() for p in FILES} == FILES
    record = json.loads((folder / hub_client.RECORD_NAME).read_text())
    assert record["sha256"]["model.pb"] == hashlib.sha256(WEIGHTS).hexdigest() and record["revision"] == "master"
    assert hub.resolve_model(MODEL) == folder and not list(folder.rglob("*.part"))
    assert "license FunASR-Model" in capsys.readouterr().out


def test_a_second_download_fetches_nothing_and_repairs_what_changed(server, client, tmp_path):
    client.download(MODEL, "v1", tmp_path / "m")
    (tmp_path / "m/model.pb").write_bytes(WEIGHTS[:-1] + b"?")
    server.log.clear()
    client.download(MODEL, "v1", tmp_path / "m")
    assert [row[1] for row in server.log] == [None, "model.pb"]
    assert (tmp_path / "m/model.pb").read_bytes() == WEIGHTS


def test_a_cut_connection_is_resumed_where_it_broke(server, client, tmp_path):
    server.cut["model.pb"] = 300_000
    client.download(MODEL, "master", tmp_path / "m")
    assert [row[2] for row in server.log if row[1] == "model.pb"] == [None, "bytes=300000-"]
    assert (tmp_path / "m/model.pb").read_bytes() == WEIGHTS


def test_a_killed_download_goes_on_from_its_part(server, client, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.pb.part").write_bytes(WEIGHTS[:1000])
    client.download(MODEL, "master", tmp_path / "m")
    assert ("repo", "model.pb", "bytes=1000-") in server.log
    assert (tmp_path / "m/model.pb").read_bytes() == WEIGHTS


@pytest.mark.parametrize("status", [200, 206])
def test_a_hub_that_sends_whole_files_only_ends_a_download_too(server, client, tmp_path, status):
    server.whole, server.cut["config.yaml"] = status, 5
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.pb.part").write_bytes(WEIGHTS[:1000])
    client.download(MODEL, "master", tmp_path / "m")
    assert {path: (tmp_path / "m" / path).read_bytes() for path in FILES} == FILES


@pytest.mark.parametrize("left", [b"other bytes of an older revision", WEIGHTS + b"more", WEIGHTS])
def test_a_part_that_does_not_fit_is_fetched_again(server, client, tmp_path, left):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.pb.part").write_bytes(left)
    client.download(MODEL, "master", tmp_path / "m")
    assert (tmp_path / "m/model.pb").read_bytes() == WEIGHTS


def test_a_wrong_checksum_leaves_no_file(server, client, tmp_path):
    server.sha256 = lambda path: "0" * 64 if path == "model.pb" else hashlib.sha256(server.files[path]).hexdigest()
    with pytest.raises(DataError, match="checksum mismatch for 'model.pb': sha256"):
        client.download(MODEL, "master", tmp_path / "m")
    assert not (tmp_path / "m/model.pb").exists() and not (tmp_path / "m/model.pb.part").exists()
    assert not (tmp_path / "m" / hub_client.RECORD_NAME).exists()


def test_a_busy_server_is_asked_again_but_not_for_ever(server, client, tmp_path):
    server.busy = 2
    client.download(MODEL, "master", tmp_path / "m")
    server.busy = 100
    with pytest.raises(DataError, match="did not answer after 5 attempts: HTTP 503"):
        client.download(MODEL, "master", tmp_path / "n")


def test_unknown_model_or_revision(server, capsys):
    assert main(["download", "damo/no-such-model"]) == 3
    assert main(["download", MODEL, "--revision", "v9"]) == 3
    assert "no such model, revision or file" in capsys.readouterr().err
    assert len(server.log) == 2  # a plain no is not asked for again


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", ".", "a\n\x1b[31mb"])
def test_a_path_that_leaves_the_folder_is_refused(server, client, tmp_path, path):
    server.files[path] = b"x"
    with pytest.raises(UnsafeFileError, match="outside the model folder"):
        client.download(MODEL, "master", tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("model", ["../../evil", "", "/abs/evil", "a b/c", "name", "damo/.."])
def test_what_is_no_id_is_not_asked_for(server, capsys, model):
    assert main(["download", model]) == 2
    assert "is not a model id" in capsys.readouterr().err and not server.log


@pytest.mark.parametrize("rows", [[{"Path": "a", "Size": "many"}], ["a"], {"Path": "a"}, None])
def test_a_listing_of_something_else_is_an_error(server, client, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(client, "_get", lambda url: json.dumps({"Data": {"Files": rows}}).encode())
    with pytest.raises(DataError, match="not a list of files"):
        client.download(MODEL, "master", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_unreachable_hub(client, tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="did not answer"):
        client.download(MODEL, "master", tmp_path / "m")
