"""Event streams: framing, and the release of resources in every case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from server.http.sse import DONE, EventStream, frame
from tests.support.inprocess import wait_until
from tests.support.live import DEADLINE

pytestmark = pytest.mark.anyio


class Connection:
    """One HTTP exchange: what the client receives, and when the client disconnects."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        settings = SimpleNamespace(timeout=60)
        app = SimpleNamespace(state=SimpleNamespace(context=SimpleNamespace(settings=settings)))
        self.scope = {"type": "http", "method": "POST", "app": app}

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Released:
    """An exit stack that records that it was closed."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.times = 0
        self.stack.callback(self._count)

    def _count(self) -> None:
        self.times += 1


async def some() -> AsyncGenerator[bytes, None]:
    yield frame({"a": 1})
    yield frame({"b": "\n"})


async def endless() -> AsyncGenerator[bytes, None]:
    yield frame(1)
    await asyncio.sleep(1000)


def test_frames_are_one_line() -> None:
    assert frame({"a": "x\ny"}) == b'data: {"a":"x\\ny"}\n\n'
    assert DONE == b"data: [DONE]\n\n"


async def test_a_stream_to_its_end() -> None:
    connection, released = Connection(), Released()
    stream = EventStream(some(), released.stack, ping_seconds=0)
    await stream(connection.scope, connection.receive, connection.send)
    assert connection.body == b'data: {"a":1}\n\ndata: {"b":"\\n"}\n\n'
    headers = dict(connection.sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-accel-buffering"] == b"no"
    assert released.times == 1


async def test_a_client_that_leaves_ends_the_stream() -> None:
    connection, released = Connection(), Released()
    stream = EventStream(endless(), released.stack, ping_seconds=0)
    task = asyncio.create_task(stream(connection.scope, connection.receive, connection.send))
    await asyncio.sleep(0.01)
    assert released.times == 0
    connection.gone.set()
    await asyncio.wait_for(task, DEADLINE)
    assert released.times == 1


async def test_a_client_that_left_before_the_first_event() -> None:
    connection, released = Connection(), Released()
    connection.gone.set()
    stream = EventStream(endless(), released.stack, ping_seconds=0)
    await asyncio.wait_for(stream(connection.scope, connection.receive, connection.send), DEADLINE)
    assert released.times == 1


async def test_a_connection_that_breaks_while_sending() -> None:
    connection, released = Connection(), Released()

    async def broken(message: Any) -> None:
        raise OSError("broken pipe")

    stream = EventStream(some(), released.stack, ping_seconds=0)
    with pytest.raises(OSError, match="broken pipe"):
        await stream(connection.scope, connection.receive, broken)
    assert released.times == 1


async def test_a_cancelled_stream_is_released() -> None:
    connection, released = Connection(), Released()
    stream = EventStream(endless(), released.stack, ping_seconds=0)
    task = asyncio.create_task(stream(connection.scope, connection.receive, connection.send))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released.times == 1


async def test_pings_are_comments() -> None:
    connection, released = Connection(), Released()
    stream = EventStream(endless(), released.stack, ping_seconds=1)
    task = asyncio.create_task(stream(connection.scope, connection.receive, connection.send))
    await wait_until(lambda: b":\n" in connection.body)
    connection.gone.set()
    await asyncio.wait_for(task, DEADLINE)
    assert connection.body == b"data: 1\n\n:\n\n"


async def test_a_ping_waits_for_a_frame_that_is_being_sent() -> None:
    connection, released = Connection(), Released()

    async def slow_send(message: Any) -> None:
        if message.get("body"):
            connection.sent.append({"body": message["body"][:3]})
            await asyncio.sleep(1.1)
            message = {"body": message["body"][3:]}
        connection.sent.append(message)

    stream = EventStream(some(), released.stack, ping_seconds=1)
    await asyncio.wait_for(stream(connection.scope, connection.receive, slow_send), DEADLINE)
    sent = [message.get("body", b"") for message in connection.sent]
    assert [sent[at + 1][:3] for at, part in enumerate(sent) if part == b"dat"] == [b"a: "] * 2


async def test_a_stream_of_another_media_type() -> None:
    connection, released = Connection(), Released()
    media_type = "application/x-ndjson"
    stream = EventStream(endless(), released.stack, ping_seconds=1, ping=b"", media_type=media_type)
    task = asyncio.create_task(stream(connection.scope, connection.receive, connection.send))
    await asyncio.sleep(1.1)
    connection.gone.set()
    await asyncio.wait_for(task, DEADLINE)
    assert dict(connection.sent[0]["headers"])[b"content-type"].startswith(media_type.encode())
    assert connection.body == b"data: 1\n\n"
