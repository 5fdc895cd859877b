"""Responses: a dialect frames its stream itself, errors in the middle of the stream included."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.answers.respond import respond
from server.answers.shape import StreamedAnswer, WholeAnswer
from server.app import create_app
from server.app_state import keep_state, state_of
from server.context import context_of
from server.errors import ApiError, EngineFailed
from server.generation.types import Ended, TextDelta
from server.requests.body import read_body
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import generation_request, resolve_sampling
from tests.support.fake_server import FakeServer, ScriptedGenerator, make_server

pytestmark = pytest.mark.anyio


class Words(WholeAnswer):
    """The text as a list of its deltas."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, index: int, delta: TextDelta) -> None:
        self.texts.append(delta.text)

    def end(self, index: int, ended: Ended) -> None:
        self.texts.append(ended.cause.value)

    def body(self) -> Any:
        return self.texts


class Lines(StreamedAnswer):
    """A stream of lines of JSON, two for each delta."""

    media_type = "application/x-ndjson"
    ping = b""

    def start(self) -> bytes:
        return _lines(["start"])

    def delta(self, index: int, delta: TextDelta) -> bytes:
        return _lines([delta.text, len(delta.tokens)])

    def end(self, index: int, ended: Ended) -> bytes:
        return b""

    def finish(self) -> bytes:
        return _lines(["finish"])

    def error(self, error: ApiError) -> bytes:
        return _lines([{"error": error.status}])


def _lines(values: Iterable[object]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


async def ask(server: FakeServer, **body: Any) -> httpx.Response:
    async def handle(request: Request) -> Response:
        context = context_of(request)
        fields = await read_body(request, SamplingFields)
        sampling = resolve_sampling(fields, context)
        sequence = generation_request(fields, [1], context, sampling)
        return await respond(request, fields, [sequence], context, whole=Words, streamed=Lines)

    app = Starlette(routes=[Route("/", handle, methods=["POST"])])
    keep_state(app, state_of(create_app(server.context)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/", json=body)


async def test_in_one_piece() -> None:
    server = make_server(generator=ScriptedGenerator(["a", "b"]))
    response = await ask(server)
    assert response.json() == ["a", "b", "eos"]


async def test_a_stream_of_lines() -> None:
    server = make_server(generator=ScriptedGenerator(["a", "b"]))
    response = await ask(server, stream=True)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.text.split("\n") == ['"start"', '"a"', "1", '"b"', "1", '"finish"', ""]


async def test_the_dialect_frames_an_error_in_the_middle() -> None:
    generator = ScriptedGenerator(["a", "b"], fail_after=(1, EngineFailed("boom")))
    response = await ask(make_server(generator=generator), stream=True)
    assert json.loads(response.text.rstrip().split("\n")[-1]) == {"error": 500}
    assert generator.running == 0
