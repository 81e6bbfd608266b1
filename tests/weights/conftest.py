"""A server on 127.0.0.1 that can do everything wrong, and rows that point to it."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from keras_sd.weights import download
from keras_sd.weights.remote_file import RemoteFile

REDIRECTS = {"redirect to a file": "file:///etc/passwd", "redirect loop": "/file.th", "redirect nowhere": "http://["}
HEADERS = {
    "broken gzip": {"Content-Encoding": "gzip"},
    "odd length": {"Content-Length": "many"},
    "long length": {"Content-Length": "9" * 5000},
}


class Server(ThreadingHTTPServer):
    """Serves one content at any path, in the manner that `behave` names.

    Attributes:
        content: The bytes.
        behave: A list of manners, one for each request to come; the last one stays.
        requests: What was asked for: (method, path, Range or None).
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behave, self.requests, self.stated = content, ["well"], [], None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/file.th"

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.server.requests.append(("HEAD", self.path, None))
        self.send_response(302)
        if self.server.stated:
            self.send_header("X-Linked-ETag", f'"{self.server.stated}"')
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.requests.append(("GET", self.path, wanted))
        manner = server.behave.pop(0) if len(server.behave) > 1 else server.behave[0]
        if isinstance(manner, int):
            return self.answer(manner, b"no")
        if manner == "redirect" and self.path != "/elsewhere":
            return self.answer(302, b"", Location="/elsewhere")
        if manner == "web page":
            return self.answer(200, b"<!DOCTYPE html><html>Sign in</html>", **{"Content-Type": "text/html"})
        if manner in REDIRECTS:
            return self.answer(302, b"", Location=REDIRECTS[manner])
        if manner == "endless":
            return self.pour()
        content, status, headers = server.content, 200, dict(HEADERS.get(manner, {}))
        if manner == "another file":
            content = content[::-1]
        if manner == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        if wanted and manner != "ignore range":
            start, size = int(wanted[len("bytes=") :].rstrip("-")), len(content)
            if start >= size:
                return self.answer(416, b"", **{"Content-Range": f"bytes */{size}"})
            stated = "9" * 5000 if manner == "odd range" else start
            headers["Content-Range"] = f"bytes {stated}-{size - 1}/{size}"
            content, status = content[start:], 206
        sent = content[: len(content) // 2] if manner == "stop half way" else content
        return self.answer(status, sent, len(content), **headers)

    def pour(self):
        """Send bytes until the client hangs up, and no length."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def answer(self, status, content, length=None, **headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content) if length is None else length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = "Content-Length" in headers or (length is not None and length != len(content))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    server = Server(np.random.default_rng(0).bytes(3_000_000))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def file(server):
    return RemoteFile(server.url, sha256=hashlib.sha256(server.content).hexdigest())


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
