"""`ps`, `load` and `unload` against a server with llama-server's routes for several models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from server.commands.loaded import load, ps, unload
from server.startup import CommandError

GIB = 1 << 30


class Router(BaseHTTPRequestHandler):
    """Loads a model in the time of two looks at it; the model `broken` never loads."""

    models: ClassVar[dict[str, dict[str, Any]]]
    asked: ClassVar[list[tuple[str, str]]]

    def do_GET(self) -> None:
        data = [
            {"id": name, "aliases": [f"{name}-too"], **one} for name, one in self.models.items()
        ]
        self._send({"data": data})
        for name, one in self.models.items():
            if one["status"]["value"] == "loading":
                one["status"] = {"value": "loaded", "memory": {"host": GIB, "device": 0}}
                if name == "broken":
                    one["status"] = {"value": "unloaded", "failed": True, "reason": "no memory"}

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        verb, name = self.path.rpartition("/")[2], body["model"].removesuffix("-too")
        self.asked.append((verb, body["model"]))
        self.models[name]["status"] = {"value": "loading" if verb == "load" else "unloaded"}
        self._send({"success": True})

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def router() -> Iterator[tuple[type[Router], str]]:
    soon = datetime.now(UTC) + timedelta(minutes=5, seconds=30)
    busy = {"value": "loaded", "memory": {"host": 2 * GIB, "device": 3 * GIB}}
    models = {
        "chat": {"status": {**busy, "expires_at": soon.isoformat()}, "max_input_tokens": 8192},
        "pinned": {"status": {"value": "loaded", "pinned": True}},
        "idle": {"status": {"value": "unloaded"}},
        "asleep": {"status": {"value": "sleeping"}},
        "broken": {"status": {"value": "unloaded"}},
    }
    handler = type("BoundRouter", (Router,), {"models": models, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_ps_shows_what_is_loaded(
    router: tuple[type[Router], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ps(["--url", router[1]], {}) == 0
    head, chat, pinned = rows(capsys)
    assert head == ["NAME", "STATE", "MEMORY", "DEVICE", "CONTEXT", "UNTIL"]
    assert chat == ["chat", "loaded", "2.1", "GB", "3.2", "GB", "8,192", "5", "min"]
    assert pinned == ["pinned", "loaded", "-", "-", "-", "pinned"]
    assert ps(["--url", router[1], "--all"], {}) == 0
    assert [row[0] for row in rows(capsys)[1:]] == ["chat", "pinned", "idle", "asleep", "broken"]


def test_ps_for_scripts(
    router: tuple[type[Router], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ps(["--url", router[1], "--json"], {}) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in shown] == ["chat", "pinned"]


@pytest.mark.parametrize("name", ["idle", "idle-too", "idle:latest"])
def test_load_waits_until_the_model_is_there(
    name: str, router: tuple[type[Router], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert load([name, "--url", router[1]], {}) == 0
    assert capsys.readouterr().out.split()[-1] == "loaded"


def test_what_is_done_already_is_not_asked_again(router: tuple[type[Router], str]) -> None:
    assert load(["chat", "--url", router[1]], {}) == 0
    assert unload(["idle", "--url", router[1]], {}) == 0
    assert router[0].asked == []


def test_unload(router: tuple[type[Router], str], capsys: pytest.CaptureFixture[str]) -> None:
    assert unload(["chat", "--url", router[1], "--json"], {}) == 0
    assert json.loads(capsys.readouterr().out)["status"]["value"] == "unloaded"
    assert router[0].asked == [("unload", "chat")]


def test_a_model_that_does_not_load_says_why(router: tuple[type[Router], str]) -> None:
    with pytest.raises(CommandError, match="broken can't be loaded: no memory"):
        load(["broken", "--url", router[1]], {})


def test_a_model_that_is_unknown(router: tuple[type[Router], str]) -> None:
    with pytest.raises(CommandError, match="no model x; it has: chat, pinned"):
        load(["x", "--url", router[1]], {})
