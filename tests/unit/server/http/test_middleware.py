"""Middleware alone: request ids, errors and limits, without an application."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import BodyTooLarge, ContextExceeded, InvalidRequest, Overloaded
from server.http import middleware
from server.http.middleware import CatchErrors, LimitBody, RequestLog
from server.observability.request_id import choose_request_id, current_request_id

pytestmark = pytest.mark.anyio


def scope_of(*headers: tuple[bytes, bytes], path: str = "/") -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": list(headers)}


async def run(app: ASGIApp, scope: Scope, *chunks: bytes) -> list[dict[str, Any]]:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def failing_send(message: Any) -> None:
    raise AssertionError(message)


def failing(error: BaseException, *, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (b"abc-123", True),
        (b"a/b:c=d+e@f.g_h", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b"a b", False),
        (b"a\nb", False),
        (b"\xff", False),
        (None, False),
    ],
)
def test_only_harmless_ids_are_taken(given: bytes | None, taken: bool) -> None:
    chosen = choose_request_id(given)
    assert (given is not None and chosen.encode() == given) is taken
    assert len(chosen) == 32 or taken


async def test_the_id_is_known_to_the_handler_and_returned() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_request_id.get())
        await ok(scope, receive, send)

    start, _ = await run(RequestLog(app), scope_of((b"x-request-id", b"id-1")))
    assert seen == ["id-1"]
    assert (b"x-request-id", b"id-1") in start["headers"]


async def test_a_request_whose_client_left_is_logged_as_499(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    app = RequestLog(CatchErrors(failing(ClientDisconnect())))
    assert await run(app, scope_of()) == []
    assert "GET / 499" in caplog.text


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (InvalidRequest("SECRET", param="top_k"), "400 invalid_request_error in top_k"),
        (
            InvalidRequest("no", param="chat_template_kwargs.SECRET"),
            "400 invalid_request_error in chat_template_kwargs",
        ),
        (InvalidRequest("no", param="a\nb"), r"400 invalid_request_error in 'a\nb'"),
        (ContextExceeded(9, 4), "400 exceed_context_size_error in prompt"),
        (Overloaded("full", retry_after=2), "429 rate_limit_error"),
        (ValueError("SECRET"), "500 server_error"),
    ],
)
async def test_the_log_tells_why_a_request_was_refused_without_a_clients_word(
    caplog: pytest.LogCaptureFixture, error: Exception, logged: str
) -> None:
    caplog.set_level("INFO", "llamapack.access")
    await run(RequestLog(CatchErrors(failing(error))), scope_of())
    [line] = [one.getMessage() for one in caplog.records if one.name == "llamapack.access"]
    assert re.sub(r" [0-9.]+ ms", "", line) == f"GET / {logged}"


async def test_the_log_tells_nothing_more_of_an_answer_that_went_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "llamapack.access")
    await run(RequestLog(CatchErrors(ok)), scope_of())
    assert re.fullmatch(r"GET / 200 [0-9.]+ ms", caplog.records[0].getMessage())


async def test_known_errors_become_answers() -> None:
    error = Overloaded("full", retry_after=2)
    start, body = await run(CatchErrors(failing(error)), scope_of())
    assert start["status"] == 429
    assert (b"retry-after", b"2") in start["headers"]
    assert b'"type":"rate_limit_error"' in body["body"]


async def test_an_error_after_the_start_closes_the_connection() -> None:
    with pytest.raises(ValueError, match="x"):
        await run(CatchErrors(failing(ValueError("x"), after_start=True)), scope_of())


@pytest.mark.parametrize("length", [b"11", b"99999999999999999999999"])
async def test_an_announced_body_is_refused_unread(length: bytes) -> None:
    app = LimitBody(failing(AssertionError()), max_bytes=10)
    with pytest.raises(BodyTooLarge):
        await run(app, scope_of((b"content-length", length)))


async def test_an_unannounced_body_is_counted() -> None:
    app = LimitBody(ok, max_bytes=10)
    assert await run(app, scope_of(), b"12345", b"67890")
    with pytest.raises(BodyTooLarge):
        await run(app, scope_of(), b"12345", b"67890", b"1")


async def test_a_stalled_body_is_given_up() -> None:
    async def stalled() -> Any:
        await asyncio.sleep(1000)

    app = LimitBody(ok, max_bytes=10, read_seconds=0.01)
    with pytest.raises(InvalidRequest, match="stalled"):
        await app(scope_of(), stalled, failing_send)


async def test_a_body_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)

    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b"x", "more_body": True}

    app = LimitBody(ok, max_bytes=10**6, read_seconds=10)
    with pytest.raises(InvalidRequest, match="too slowly"):
        await app(scope_of(), trickle, failing_send)


async def test_a_client_may_be_silent_after_its_body() -> None:
    received = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())
        received.append(await receive())

    messages = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def slow_second() -> Any:
        await asyncio.sleep(0.05 if len(messages) == 1 else 0)
        return messages.pop(0)

    await LimitBody(waiting, max_bytes=10, read_seconds=0.01)(scope_of(), slow_second, failing_send)
    assert [message["type"] for message in received] == ["http.request", "http.disconnect"]
