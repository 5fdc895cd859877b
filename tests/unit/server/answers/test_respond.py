"""Responses: a dialect frames its stream itself, errors in the middle of the stream included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol.events import TokenLogprobs
from server.answers.respond import respond
from server.answers.shape import StreamedAnswer, WholeAnswer
from server.app import create_app
from server.app_state import keep_state, state_of
from server.context import context_of
from server.errors import ApiError, EngineFailed
from server.generation.types import Ended, GenerationRequest, Item, PromptScores, TextDelta
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


class Places(WholeAnswer):
    """Which parts were written on the event loop, and which in a thread."""

    def __init__(self) -> None:
        self.found: list[list[object]] = []

    def add(self, index: int, delta: TextDelta) -> None:
        self._note(delta.text[:1])

    def scored(self, index: int, scores: PromptScores) -> None:
        self._note(len(scores.logprobs))

    def end(self, index: int, ended: Ended) -> None:
        self._note("end")

    def body(self) -> Any:
        self._note("body")
        return self.found

    def _note(self, part: object) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.found.append([part, "thread"])
        else:
            self.found.append([part, "loop"])


@dataclass
class ScoringGenerator(ScriptedGenerator):
    """Sends log-probabilities of the prompt first: so many alternatives in each item."""

    scored: Sequence[int] = ()

    async def _items(self, request: GenerationRequest, finished: list[bool]) -> AsyncIterator[Item]:
        for count in self.scored:
            yield PromptScores((TokenLogprobs(-1.0, [(1, -1.0)] * count),) * 2)
        async for item in super()._items(request, finished):
            yield item


def _lines(values: Iterable[object]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


async def ask(server: FakeServer, whole: type[WholeAnswer] = Words, **body: Any) -> httpx.Response:
    async def handle(request: Request) -> Response:
        context = context_of(request)
        fields = await read_body(request, SamplingFields)
        sampling = resolve_sampling(fields, context)
        sequence = generation_request(fields, [1], context, sampling)
        return await respond(request, fields, [sequence], context, whole=whole, streamed=Lines)

    app = Starlette(routes=[Route("/", handle, methods=["POST"])])
    keep_state(app, state_of(create_app(server.context)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/", json=body)


async def test_in_one_piece() -> None:
    server = make_server(generator=ScriptedGenerator(["a", "b"]))
    response = await ask(server)
    assert response.json() == ["a", "b", "eos"]


@pytest.mark.parametrize(
    ("scored", "pieces", "expected"),
    [
        ((), ["a", "b"], "a:loop b:loop end:loop body:loop"),
        ((5, 100), ["a"], "2:loop 2:loop a:loop end:loop body:loop"),
        ((300, 1), ["a"], "2:thread 2:loop a:loop end:loop body:loop"),
        ((), ["a" * 9_000, "b"] * 3, "a:loop b:loop " * 3 + "end:loop body:loop"),
        ((), ["a", "b" * 70_000, "c"], "a:loop b:thread c:loop end:loop body:loop"),
        ((), ["a" * 60_000] * 9, "a:loop " * 9 + "end:thread body:thread"),
        ((2000,), ["a"], "2:thread a:loop end:thread body:thread"),
    ],
)
async def test_large_parts_are_written_in_threads(
    scored: list[int], pieces: list[str], expected: str
) -> None:
    """In the order in which they came."""
    response = await ask(make_server(generator=ScoringGenerator(pieces, scored=scored)), Places)
    assert [f"{part}:{place}" for part, place in response.json()] == expected.split()


@pytest.mark.parametrize(("count", "least"), [(1, 1), (50, 10)])
async def test_parts_that_are_there_at_once(count: int, least: int) -> None:
    """Parts of some length are written in turns of the loop, small ones at once."""
    turn = 0

    class Turning(Places):
        def scored(self, index: int, scores: PromptScores) -> None:
            self.found.append(["turn", turn])

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    generator = ScoringGenerator(["a"], scored=[count] * 40)
    response = await ask(make_server(generator=generator), Turning)
    counting.cancel()
    turns = {place for part, place in response.json() if part == "turn"}
    assert least <= len(turns) <= 2 * least


async def test_what_a_thread_raises_is_answered() -> None:
    class Refusing(Places):
        def body(self) -> Any:
            raise EngineFailed("boom")

    server = make_server(generator=ScriptedGenerator(["a" * 600_000]))
    with pytest.raises(EngineFailed, match="boom"):
        await ask(server, Refusing)
    assert server.generator.running == 0


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
