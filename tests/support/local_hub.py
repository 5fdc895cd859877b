"""A Hugging Face hub on this machine: lists repositories with sizes, and sends parts of files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LocalHub:
    """Files by repository and name, and what was asked of the hub."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    knows_ranges: bool = True
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes that were taken of each file, by name."""
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[LocalHub]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
            return
        repo, _, name = path.strip("/").partition("/resolve/main/")
        content = self.hub.repos.get(repo, {}).get(name)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send_file(name, content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""

    def _list(self, repo: str) -> None:
        if repo not in self.hub.repos:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        files = [
            {"rfilename": name, "size": len(content), "blobId": "b"}
            for name, content in sorted(self.hub.repos[repo].items())
        ]
        body = json.dumps({"id": repo, "sha": COMMIT, "siblings": files}).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _send_file(self, name: str, content: bytes) -> None:
        wanted, status, headers = self.headers.get("Range"), 200, {}
        if wanted and self.hub.knows_ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            end = min(int(last) + 1, len(content))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
            content, status = content[int(first) : end], 206
        self._send(status, content, headers, name)

    def _send(self, status: int, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for start in range(0, len(body), 1 << 16):
                piece = body[start : start + (1 << 16)]
                self.wfile.write(piece)
                self.hub.sent[name] = self.hub.sent.get(name, 0) + len(piece)
        except OSError:  # the client has enough
            self.close_connection = True


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """A hub without repositories; a test puts them in."""
    hub = LocalHub()
    handler = type("BoundHandler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
