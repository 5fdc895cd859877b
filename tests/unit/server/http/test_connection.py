"""Whether a client reads what waits for it: progress counts, not completion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.http import request_parser
from server.http.connection import MIN_READ_RATE, bounded_protocol
from server.http.json_response import JsonResponse

pytestmark = pytest.mark.anyio

SECONDS = 100.0


class FakeTransport:
    """A transport with a send buffer of a size that the test sets."""

    def __init__(self) -> None:
        self.unread = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.is_aborted = True

    def get_extra_info(self, name: str) -> None:
        return None


class Reader:
    """A connection whose full send buffer is looked at whenever the test says so."""

    def __init__(self, unread: int) -> None:
        config = uvicorn.Config(lambda: None, http=bounded_protocol(SECONDS))
        self.transport = FakeTransport()
        self._connection = bounded_protocol(SECONDS)(config, ServerState(), {})
        self._connection.connection_made(cast(asyncio.Transport, self.transport))
        self.transport.unread = unread
        self._connection.pause_writing()

    def reads(self, num_bytes: int) -> bool:
        """Whether the connection stays, if the client reads so much until it is looked at."""
        timer = self._connection._write_timer
        assert timer.is_running
        self.transport.unread -= num_bytes
        timer.stop()
        self._connection._check_reader()
        return not self.transport.is_aborted

    def close(self) -> None:
        self._connection.connection_lost(OSError())


@pytest.mark.parametrize(
    ("reads", "stays"),
    [
        ([0], False),
        ([int(SECONDS)], False),  # a byte a second
        ([MIN_READ_RATE * int(SECONDS)] * 50, True),
        ([100_000, 20_000, 7_000, 0], False),
        ([1_000_000, 10_000, 10_000], True),
    ],
)
async def test_progress_counts(reads: list[int], stays: bool) -> None:
    reader = Reader(unread=10_000_000)
    for num_bytes in reads[:-1]:
        assert reader.reads(num_bytes)
    assert reader.reads(reads[-1]) is stays
    reader.close()


async def test_a_small_rest_has_to_be_read_as_a_whole() -> None:
    reader = Reader(unread=500)
    assert reader.reads(500)
    reader.close()
    reader = Reader(unread=500)
    assert not reader.reads(499)
    reader.close()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await JsonResponse({}, status_code=401)(scope, receive, send)


class QuietTransport(FakeTransport):
    """A transport to which anything can be written."""

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("size", [1, 1000, 60_000])
async def test_a_refused_body_is_not_kept(size: int) -> None:
    config = uvicorn.Config(_refuse, http=bounded_protocol(SECONDS))
    connection = bounded_protocol(SECONDS)(config, ServerState(), {})
    connection.connection_made(cast(asyncio.Transport, QuietTransport()))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-A: b\r\nContent-Length: %d\r\n\r\n" % size
    connection.data_received(head + b"a" * size)
    assert len(connection.cycle.body) == size
    await asyncio.gather(*connection.tasks)
    assert not connection.cycle.body
    connection.connection_lost(OSError())


def chunks(*sizes: int) -> bytes:
    """Chunks of these sizes, as they are on the wire."""
    return b"".join(b"%x\r\n%b\r\n" % (size, b" " * size) for size in sizes)


@pytest.mark.parametrize(
    ("sizes", "is_refused"),
    [
        ([1] * 90, False),
        ([1] * 110, True),
        ([2, 1] * 60, True),
        ([64] * 1000, False),
        ([10_000] + [1] * 200, False),
        ([1000, 1] * 200, False),
    ],
)
def test_small_chunks_are_bounded(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], is_refused: bool
) -> None:
    monkeypatch.setattr(request_parser, "MAX_SMALL_PIECES", 100)
    told: list[bytes] = []

    class Callbacks:
        def on_body(self, body: bytes) -> None:
            told.append(body)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: None

    parser = request_parser.RequestParser(Callbacks())
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    if is_refused:
        with pytest.raises(httptools.HttpParserError):
            parser.feed_data(chunks(*sizes))
    else:
        parser.feed_data(chunks(*sizes))
        assert sum(map(len, told)) == sum(sizes)
