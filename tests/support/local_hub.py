"""A small hub on this machine, with a server for content beside it; both can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"


def gguf_bytes(size: int = 4096, seed: str = "") -> bytes:
    """Content that starts as a GGUF file does, and differs by its seed."""
    block = sha256(seed.encode()).digest()
    return b"GGUF" + (block * (size // len(block) + 1))[: size - 4]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class LocalHub:
    """The repositories, and how the servers behave."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commit: str = COMMIT
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    listing: bytes | None = None
    """What is answered instead of a list of files."""
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses of the next requests for content, with headers."""
    broken_status: int | None = None
    """The status of all answers."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next answers with content are cut."""
    tampered: bool = False
    """Whether the content is changed on the way."""
    ignores_ranges: bool = False
    refuses_ranges: bool = False
    """Whether the rest of a file is a 403, as behind an address that has expired."""
    names_sizes: bool = True
    is_plain: bool = False
    """Whether the hub has the content itself, and no server beside it."""
    piece_seconds: float = 0.0
    """Pause after each piece of content."""
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    content_url: str = ""

    def downloads(self) -> list[str]:
        """The names of the files whose content was asked for."""
        marks = ("/content/", "/resolve/") if self.is_plain else ("/content/",)
        return [
            one.path.rpartition("/")[2]
            for one in self.asked
            if one.method == "GET" and any(mark in one.path for mark in marks)
        ]

    def ranges(self) -> list[str | None]:
        """The ranges of the requests for content."""
        return [one.range for one in self.asked if one.method == "GET" and "/content/" in one.path]


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[LocalHub]

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append(Asked(self.command, path, headers))
        if self.hub.broken_status is not None:
            self.send(self.hub.broken_status)
        else:
            self.answer(path)

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_content(self, content: bytes, headers: dict[str, str]) -> None:
        """The content, or the part that is asked for."""
        if self.hub.statuses and self.command == "GET":
            status, extra = self.hub.statuses.pop(0)
            self.send(status, b"", extra)
            return
        asked = self.headers.get("Range")
        if asked and self.hub.refuses_ranges:
            self.send(403)
            return
        first, _, last = (asked or "0-").removeprefix("bytes=").partition("-")
        start, end = int(first), int(last) + 1 if last else len(content)
        if start > len(content):
            self.send(416)
            return
        if self.headers.get("If-Range", headers.get("ETag")) != headers.get("ETag"):
            start = 0
        end = min(end, len(content))
        is_part = asked is not None and (start or last) and not self.hub.ignores_ranges
        if is_part:
            headers |= {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        body = content[start:end] if is_part else content
        if self.hub.tampered:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(206 if is_part else 200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._write(body)

    def _write(self, body: bytes) -> None:
        length = self.hub.cuts.pop(0) if self.hub.cuts else len(body)
        for start in range(0, min(length, len(body)), 1024):
            self.wfile.write(body[start : min(start + 1024, length)])
            if self.hub.piece_seconds:
                time.sleep(self.hub.piece_seconds)


class _HubHandler(_Handler):
    """The hub's routes: the list of a repository, and where its files are."""

    def answer(self, path: str) -> None:
        hub = self.hub
        repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo not in hub.repos or (repo in hub.private and not allowed):
            self.send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repo in hub.gated and "/resolve/" in path:
            self.send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/"):
            self.send(200, self._listing(repo), {"Content-Type": "application/json"})
        else:
            self._resolve(repo, path.partition("/resolve/")[2].partition("/")[2])

    def _listing(self, repo: str) -> bytes:
        if self.hub.listing is not None:
            return self.hub.listing
        files = [
            {"rfilename": name, **({"size": len(content)} if self.hub.names_sizes else {})}
            for name, content in sorted(self.hub.repos[repo].items())
        ]
        return json.dumps({"id": repo, "sha": self.hub.commit, "siblings": files}).encode()

    def _resolve(self, repo: str, name: str) -> None:
        content = self.hub.repos[repo][name]
        etag = f'"{sha256(content).hexdigest()}"'
        if self.hub.is_plain:
            self.send_content(content, {"X-Repo-Commit": self.hub.commit, "ETag": etag})
            return
        where = f"{self.hub.content_url}/content/{repo}/{name}"
        headers = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content)), "Location": where}
        self.send(302, b"", {"X-Repo-Commit": self.hub.commit, **headers})


class _ContentHandler(_Handler):
    """The content behind the hub's redirections, under etags of its own."""

    def answer(self, path: str) -> None:
        user, repo, name = path.removeprefix("/content/").split("/", 2)
        self.send_content(self.hub.repos[f"{user}/{repo}"][name], {"ETag": '"of the content"'})


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run a hub and its server for content."""
    hub = LocalHub()
    with ExitStack() as stack:
        hub.url = stack.enter_context(running(type("Hub", (_HubHandler,), {"hub": hub})))
        content = stack.enter_context(running(type("Content", (_ContentHandler,), {"hub": hub})))
        hub.content_url = content.replace("127.0.0.1", "localhost")
        yield hub


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server with this handler; gives its address."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    """Clients that leave are no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


def environment(hub: LocalHub, home: Path) -> dict[str, str]:
    """The variables of a user whose home is empty and whose hub is this one."""
    return {"HOME": str(home), "HF_ENDPOINT": hub.url, "OLLAMA_MODELS": str(home / "ollama")}


def no_sleep(seconds: float) -> None:
    """Pause no time at all."""
