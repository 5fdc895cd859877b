"""`POST /completion` with `stream`: the events, their order, and the end of a stream."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.errors import EngineFailed, Overloaded
from tests.http.test_completion import FINAL_FIELDS, TIMING_FIELDS
from tests.support.fake_server import FakeServer, ScriptedGenerator, make_server
from tests.support.leaving import asking
from tests.support.live import DEADLINE, serving, wait_for

pytestmark = pytest.mark.anyio

CHUNK_FIELDS = {
    "index",
    "content",
    "tokens",
    "stop",
    "id_slot",
    "tokens_predicted",
    "tokens_evaluated",
}


async def stream(client: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    response = await client.post("/completion", json={"prompt": "abc", "stream": True, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_of(response.text)


def events_of(text: str) -> list[dict[str, Any]]:
    """The payloads; every event must be one data line and an empty line."""
    assert text.endswith("\n\n")
    frames = [frame for frame in text.split("\n\n") if frame and frame != ":"]
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_chunks_and_the_final_object(client: httpx.AsyncClient) -> None:
    *chunks, final = await stream(client)
    assert [chunk["content"] for chunk in chunks] == ["Hello", ",", " world", "\n"]
    assert all(set(chunk) == CHUNK_FIELDS for chunk in chunks)
    assert all(chunk["stop"] is False for chunk in chunks)
    assert [chunk["tokens"] for chunk in chunks] == [[111], [44], [100], [10]]
    assert [chunk["tokens_predicted"] for chunk in chunks] == [1, 2, 3, 4]
    assert set(final) == FINAL_FIELDS
    assert final["stop"] is True
    assert final["content"] == ""
    assert final["has_new_line"] is True
    assert final["generation_settings"]["stream"] is True


async def test_there_is_no_done_event(client: httpx.AsyncClient) -> None:
    response = await client.post("/completion", json={"prompt": "a", "stream": True})
    assert "[DONE]" not in response.text


async def test_timings_per_token(client: httpx.AsyncClient) -> None:
    first, *_ = await stream(client, timings_per_token=True)
    assert set(first["timings"]) == TIMING_FIELDS


async def test_progress_comes_before_text(client: httpx.AsyncClient) -> None:
    events = await stream(client, return_progress=True)
    progress = [event["prompt_progress"] for event in events[:2]]
    assert progress == [
        {"total": 4, "cache": 2, "processed": 2, "time_ms": 5.0},
        {"total": 4, "cache": 2, "processed": 4, "time_ms": 10.0},
    ]
    assert all("prompt_progress" not in event for event in events[2:])


async def test_probabilities_come_with_their_text(client: httpx.AsyncClient) -> None:
    *chunks, final = await stream(client, n_probs=1)
    assert [len(chunk["completion_probabilities"]) for chunk in chunks] == [1, 1, 1, 1]
    assert "completion_probabilities" not in final


async def test_several_sequences_share_a_stream(client: httpx.AsyncClient) -> None:
    events = await stream(client, prompt=["a", "b"], n=2)
    for index in range(4):
        own = [event for event in events if event["index"] == index]
        assert "".join(event["content"] for event in own) == "Hello, world\n"
        assert [event["stop"] for event in own] == [False] * 4 + [True]


async def test_response_fields_shape_the_last_event(client: httpx.AsyncClient) -> None:
    *_, final = await stream(client, response_fields=["stop", "timings/predicted_n"])
    assert final == {"stop": True, "timings/predicted_n": 4}


async def test_a_refusal_is_an_ordinary_answer(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.generator.fail_on_open = Overloaded("the queue is full", retry_after=3)
    response = await client.post("/completion", json={"prompt": "a", "stream": True})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert response.json()["error"]["type"] == "rate_limit_error"


async def test_one_refused_choice_releases_the_others(server: FakeServer) -> None:
    class SecondRefused(ScriptedGenerator):
        def open(self, request: Any) -> Any:
            if self.opened:
                self.fail_on_open = Overloaded("the queue is full", retry_after=1)
            return super().open(request)

    server = make_server(generator=SecondRefused())
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/completion", json={"prompt": "a", "n": 2, "stream": True})
    assert response.status_code == 429
    assert server.generator.running == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EngineFailed("the engine gave up"), "the engine gave up"),
        (RuntimeError("secret"), "the server failed while it produced this answer"),
    ],
)
async def test_an_error_after_the_first_byte_is_an_event(
    client: httpx.AsyncClient, server: FakeServer, error: Exception, message: str
) -> None:
    server.generator.fail_after = (2, error)
    *chunks, last = await stream(client)
    assert [chunk["content"] for chunk in chunks] == ["Hello", ","]
    assert last["error"]["code"] == 500
    assert last["error"]["type"] == "server_error"
    assert last["error"]["message"] == message
    assert server.generator.running == 0


async def test_an_error_without_streaming_is_a_status(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.generator.fail_after = (2, EngineFailed("the engine gave up"))
    response = await client.post("/completion", json={"prompt": "a"})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "the engine gave up"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_aborts_its_sequences(streamed: bool) -> None:
    server = make_server(generator=ScriptedGenerator(pieces=["x"] * 10_000, delay=0.01))
    with serving(create_app(server.context)) as url:
        body = {"prompt": "a", "n": 2, "stream": streamed}
        with asking(url, "/completion", body) as connection:
            assert wait_for(lambda: len(server.generator.opened) == 2)
            if streamed:
                assert connection.recv(100)
        assert wait_for(lambda: server.generator.aborted == 2)
        assert server.generator.running == 0


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_while_it_waits_for_a_slot(streamed: bool) -> None:
    server = make_server(generator=ScriptedGenerator(queued=1000))
    with serving(create_app(server.context)) as url:
        with asking(url, "/completion", {"prompt": "a", "stream": streamed}):
            assert wait_for(lambda: server.generator.opened)
        assert wait_for(lambda: server.generator.aborted == 1)


def test_headers_and_pings_come_while_a_request_waits_for_a_slot() -> None:
    server = make_server(generator=ScriptedGenerator(queued=1000))
    body = {"prompt": "a", "stream": True, "sse_ping_interval": 1}
    with (
        serving(create_app(server.context)) as url,
        httpx.stream("POST", f"{url}/completion", json=body, timeout=DEADLINE) as response,
    ):
        assert response.status_code == 200
        assert next(response.iter_raw()) == b":\n\n"


def test_chunks_arrive_one_by_one() -> None:
    server = make_server(generator=ScriptedGenerator(delay=0.1))
    body = {"prompt": "a", "stream": True}
    with (
        serving(create_app(server.context)) as url,
        httpx.stream("POST", f"{url}/completion", json=body, timeout=DEADLINE) as response,
    ):
        first = next(response.iter_raw())
    assert first.count(b"data: ") == 1
