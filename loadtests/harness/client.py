"""A streaming HTTP client that records when each token arrives.

The client uses sockets and a C parser of HTTP instead of an HTTP library. The client shares the
machine with the server that it measures, so its own CPU time has to be small.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools
import msgspec

from loadtests.harness.received import Reception
from loadtests.harness.scenario import Record, Request

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
    """The callbacks of httptools, which collect one response."""

    status: int = 0
    done: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """Header values by lower-case name."""
    body: list[bytes] = field(default_factory=list)
    parser: httptools.HttpResponseParser = field(init=False)

    def __post_init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

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


async def get(
    address: Address, path: str, timeout_s: float = 10.0, *, key: str = ""
) -> tuple[int, bytes]:
    """Status and body of a GET, with an API key if there is one."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await _connect(address)
        try:
            writer.write(_head("GET", path, address, key=key))
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
    *,
    key: str = "",
) -> Record:
    """Send a request, with an API key if there is one, and record its stream.

    Errors are reported in the record's `error`, never raised. `on_first` is called once: at the
    first token, or at the end if no token came.
    """
    reception = Reception(request, clock(), on_first)
    try:
        await _exchange(address, request, key, reception, clock)
    except (OSError, httptools.HttpParserError, msgspec.DecodeError) as error:
        reception.record.error = f"{type(error).__name__}: {error}"
    return reception.end(clock())


class KeptConnection:
    """One connection for several requests in a row, as in the connection pools of HTTP libraries.

    The connection is opened again if the server closed it or said so. A request that is sent while
    the server closes is lost. The client can't know whether the request was computed, so it doesn't
    send the request again.
    """

    def __init__(self, address: Address, *, key: str = "") -> None:
        self._address = address
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.opened = 0
        """Number of connections made so far."""

    async def stream(self, request: Request, clock: Clock = time.perf_counter) -> Record:
        """As the function `stream`, on this connection."""
        reception = Reception(request, clock())
        keep = False
        try:
            reader, writer = await self._ready()
            keep = await _converse(
                reader, writer, self._address, request, self._key, reception, clock, keep=True
            )
        except (OSError, httptools.HttpParserError, msgspec.DecodeError) as error:
            reception.record.error = f"{type(error).__name__}: {error}"
        if not keep:
            self.close()
        return reception.end(clock())

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ready(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await _connect(self._address)
            self.opened += 1
        return self._streams


async def _exchange(
    address: Address, request: Request, key: str, reception: Reception, clock: Clock
) -> None:
    reader, writer = await _connect(address)
    try:
        await _converse(reader, writer, address, request, key, reception, clock)
    finally:
        writer.close()


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: Address,
    request: Request,
    key: str,
    reception: Reception,
    clock: Clock,
    *,
    keep: bool = False,
) -> bool:
    """Send one request and read its answer; return whether the connection can be used again."""
    head = _head("POST", request.path, address, len(request.payload), key, keep=keep)
    writer.write(head + request.payload)
    response = _Response()
    while not response.done and not reception.record.error:
        data = await reader.read(READ_BYTES)
        if not data:
            break
        now = clock()
        response.parser.feed_data(data)
        if response.status == 200:
            reception.take(response.take(), now)
    reception.record.status, reception.record.headers = response.status, response.headers
    if response.status != 200:
        body = response.take().decode(errors="replace")
        reception.record.error = f"HTTP {response.status}: {body[:500]}"
    return response.done and response.headers.get("connection", "").lower() != "close"


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reader, writer


def _head(
    method: str,
    path: str,
    address: Address,
    length: int | None = None,
    key: str = "",
    *,
    keep: bool = False,
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}"]
    if not keep:
        lines.append("Connection: close")
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()
