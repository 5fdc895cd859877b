"""A server for tests of the load client: every POST gets scripted bytes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from loadtests.harness.client import Address


@dataclass
class Script:
    """What the server writes after a request, piece by piece; after `answers` answers it
    disconnects."""

    pieces: Sequence[bytes]
    pause_s: float = 0.0
    answers: int = 1
    """Answers on one connection."""
    requests: list[bytes] = field(default_factory=list)
    """The heads and bodies of the requests that came."""


StartServer = Callable[[Script], Address]


def chunked(body: Sequence[bytes], status: str = "200 OK") -> list[bytes]:
    """An HTTP response with one chunk for each part of the body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in body]
    return [head.encode() + b"\r\n\r\n", *chunks, b"0\r\n\r\n"]


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")),
        0,
    )
    return head + await reader.readexactly(length)


async def _serve(script: Script, ready: Callable[[int], None], stop: asyncio.Event) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            for _ in range(script.answers):
                script.requests.append(await _read_request(reader))
                for piece in script.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(script.pause_s)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
    answers = asyncio.all_tasks() - {asyncio.current_task()}
    if answers:
        await asyncio.wait(answers, timeout=5)


@contextlib.contextmanager
def running(script: Script) -> Iterator[int]:
    ports: list[int] = []
    listening = threading.Event()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    def ready(port: int) -> None:
        ports.append(port)
        listening.set()

    def run() -> None:
        loop.run_until_complete(_serve(script, ready, stop))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert listening.wait(60)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
