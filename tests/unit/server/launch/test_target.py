"""Which model of a server a client gets, and how large its context is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from server.client.server_client import ServerClient
from server.launch.target import find_target
from server.startup import CommandError

ONE = {"data": [{"id": "only", "aliases": ["it"], "max_input_tokens": 512}]}
SEVERAL = {
    "data": [
        {"id": "a/b:Q8", "aliases": [], "status": {"value": "unloaded"}},
        {"id": "here", "aliases": ["h"], "status": {"value": "loaded"}, "max_input_tokens": 64},
    ]
}


@contextmanager
def serving(answers: Mapping[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("listed", "asked", "name", "context"),
    [
        (ONE, None, "only", 512),
        (ONE, "it", "it", 512),
        (SEVERAL, None, "here", 64),
        (SEVERAL, "h", "h", 64),
        (SEVERAL, "a/b:Q8", "a/b:Q8", 256),
    ],
)
def test_the_named_model_or_a_loaded_one_is_taken(
    listed: dict[str, Any], asked: str | None, name: str, context: int
) -> None:
    props = {"default_generation_settings": {"n_ctx": 256}}
    with serving({"/v1/models": listed, "/props?model=a%2Fb%3AQ8": props}) as url:
        target = find_target(ServerClient(url), asked)
    assert (target.model, target.context) == (name, context)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with (
        serving({"/v1/models": SEVERAL}) as url,
        pytest.raises(CommandError, match="no model z; it has: a/b:Q8, here"),
    ):
        find_target(ServerClient(url), "z")


def test_another_server_is_told_apart() -> None:
    listed = {"data": [{"id": "x"}]}
    with serving({"/v1/models": listed}) as url, pytest.raises(CommandError, match="no llamapack"):
        find_target(ServerClient(url), None)
