"""A streaming HTTP client that notes when each token arrives.

Sockets and a C parser of HTTP instead of an HTTP library: the client shares the machine with the
server that it measures, so its own CPU time has to be small.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools
import msgspec

from loadtests.scenarios.base import Record, Request
from loadtests.sse import SSEDecoder
from loadtests.wire import DECODERS, Chunk

READ_BYTES = 1 << 16
Clock = Callable[[], float]


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class _Response:
    """The callbacks of httptools, gathering one response."""

    status: int = 0
    done: bool = False
    body: list[bytes] = field(default_factory=list)
    parser: httptools.HttpResponseParser = field(init=False)

    def __post_init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.done = True

    def take(self) -> bytes:
        """The body bytes that have come since the last call."""
        data = b"".join(self.body)
        self.body.clear()
        return data


async def get(address: Address, path: str, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await _connect(address)
        try:
            writer.write(_head("GET", path, address))
            response = _Response()
            while not response.done and (data := await reader.read(READ_BYTES)):
                response.parser.feed_data(data)
            return response.status, response.take()
        finally:
            writer.close()


async def stream(
    address: Address,
    request: Request,
    on_first: Callable[[], None] | None = None,
    clock: Clock = time.perf_counter,
) -> Record:
    """Send a request and record its stream.

    Whatever goes wrong is told in the record's `error`, never raised. `on_first` is called once:
    at the first token, or at the end where none came.
    """
    record = Record(role=request.role, started=clock(), exact_tokens=request.exact_tokens)
    reception = _Reception(request, record, on_first)
    try:
        await _exchange(address, request, reception, clock)
    except (OSError, httptools.HttpParserError, msgspec.DecodeError) as error:
        record.error = f"{type(error).__name__}: {error}"
    record.finished = clock()
    reception.first()
    record.error = record.error or _incomplete(record, reception.final)
    return record


async def _exchange(
    address: Address, request: Request, reception: _Reception, clock: Clock
) -> None:
    reader, writer = await _connect(address)
    try:
        writer.write(_head("POST", request.path, address, len(request.payload)))
        writer.write(request.payload)
        response = _Response()
        while not response.done and not reception.record.error:
            data = await reader.read(READ_BYTES)
            if not data:
                break
            now = clock()
            response.parser.feed_data(data)
            if response.status == 200:
                reception.take(response.take(), now)
        if response.status != 200:
            body = response.take().decode(errors="replace")
            reception.record.error = f"HTTP {response.status}: {body[:500]}"
    finally:
        writer.close()


class _Reception:
    """Turns body bytes into the record of a stream."""

    def __init__(
        self, request: Request, record: Record, on_first: Callable[[], None] | None
    ) -> None:
        self.record = record
        self.final = False
        self._events = SSEDecoder()
        self._decode = DECODERS[request.dialect]
        self._on_first = on_first

    def take(self, data: bytes, now: float) -> None:
        for payload in self._events.feed(data):
            self._note(self._decode(payload), now)

    def first(self) -> None:
        callback, self._on_first = self._on_first, None
        if callback:
            callback()

    def _note(self, chunk: Chunk, now: float) -> None:
        record = self.record
        if chunk.pieces:
            record.arrivals.append(now)
            record.pieces.append(chunk.pieces)
            record.tokens.extend(chunk.tokens)
            record.text.append(chunk.text)
            self.first()
        if chunk.predicted is not None:
            record.predicted = chunk.predicted
            record.prompt = chunk.prompt or 0
        record.reason = chunk.reason or record.reason
        record.error = chunk.error or record.error
        self.final = self.final or chunk.final


def _incomplete(record: Record, final: bool) -> str:
    """What is missing in a stream that ended without an error; empty where nothing is."""
    if not final:
        return "the stream ended without its last chunk"
    if record.exact_tokens is not None and record.predicted != record.exact_tokens:
        return f"{record.predicted} tokens instead of {record.exact_tokens} ({record.reason})"
    if not record.arrivals:
        return "the answer is empty"
    return ""


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reader, writer


def _head(method: str, path: str, address: Address, length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", "Connection: close"]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()
