"""Large pieces from many connections are parsed in turns, and others are served in between."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.http.connection import BoundedHttpProtocol, bounded_protocol
from server.http.json_response import JsonResponse
from server.http.large_reads import BYTES_PER_TURN, SMALL_READ, LargeReads

pytestmark = pytest.mark.anyio

MOST_READ = 256 * 1024
"""Bytes that a transport reads at once."""


class Turns:
    """Counts the turns of the loop, as any other task would get its turn."""

    def __init__(self) -> None:
        self.number = 0
        self._is_over = False
        self._count()

    def _count(self) -> None:
        self.number += 1
        if not self._is_over:
            asyncio.get_running_loop().call_soon(self._count)

    def stop(self) -> None:
        self._is_over = True


@pytest.mark.parametrize("size", [SMALL_READ + 1, 100_000, MOST_READ, 3 * BYTES_PER_TURN])
async def test_a_turn_parses_few_bytes_and_keeps_the_order(size: int) -> None:
    reads, turns, parsed = LargeReads(), Turns(), []
    for number in range(40):
        reads.do(size, lambda number=number: parsed.append((number, turns.number)))  # type: ignore[misc]
    for _ in range(200):
        await asyncio.sleep(0)
    turns.stop()
    assert [number for number, _ in parsed] == list(range(40))
    in_turn = Counter(turn for _, turn in parsed)
    assert max(in_turn.values()) * size < BYTES_PER_TURN + size


async def test_a_piece_that_cannot_be_parsed_delays_no_other() -> None:
    def fail() -> None:
        raise ValueError

    reads, parsed = LargeReads(), []
    assert reads.do(BYTES_PER_TURN, lambda: None)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    reads.do(BYTES_PER_TURN, fail)
    reads.do(BYTES_PER_TURN, lambda: parsed.append(True))
    for _ in range(10):
        await asyncio.sleep(0)
    assert parsed == [True]


async def _size(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size and the sum of a body."""
    size = total = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        total += sum(message.get("body", b"")[::997])
        if not message.get("more_body"):
            break
    await JsonResponse([scope["path"], size])(scope, receive, send)


@pytest.mark.parametrize(("count", "size"), [(1, 3_000_000), (12, 500_000), (40, 200_000)])
async def test_bodies_on_many_connections(count: int, size: int) -> None:
    turns, in_turn = Turns(), Counter[int]()

    class Counting(bounded_protocol(10.0)):  # type: ignore[misc]
        def _parse(self: BoundedHttpProtocol, data: bytes) -> None:
            in_turn[turns.number] += len(data)
            super()._parse(data)  # type: ignore[misc]

    config = uvicorn.Config(_size, http=Counting, lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Counting(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def post(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in range(2):  # the second request on a connection too
            head = f"POST /{number}.{part} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            writer.write(head.encode() + b"a" * size)
            answer = await reader.readuntil(b"]")
            assert answer.endswith(f'["/{number}.{part}",{size}]'.encode())
        writer.close()
        return answer

    await asyncio.gather(*map(post, range(count)))
    turns.stop()
    server.close()
    assert sum(in_turn.values()) > 2 * count * size
    small = count * SMALL_READ
    assert max(in_turn.values()) < BYTES_PER_TURN + MOST_READ + small


async def test_a_client_that_leaves_while_its_piece_waits() -> None:
    protocol = bounded_protocol(10.0)
    config = uvicorn.Config(_size, http=protocol, lifespan="off")
    connections = [protocol(config, ServerState(), {}) for _ in range(8)]
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n"
    transports = [_Transport() for _ in connections]
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(transport)
        connection.data_received(head + b"a" * 1_000_000)
    assert [transport.is_reading for transport in transports].count(False) >= 6
    for connection in connections[::2]:
        connection.connection_lost(None)
    for _ in itertools.repeat(None, 20):
        await asyncio.sleep(0)
    assert all(transport.is_reading for transport in transports[1::2])
    for connection in connections[1::2]:
        connection.connection_lost(None)
    await asyncio.sleep(0)


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.is_reading_now = True

    @property
    def is_reading(self) -> bool:  # type: ignore[override]
        return self.is_reading_now

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def write(self, data: object) -> None:
        pass

    def close(self) -> None:
        pass
