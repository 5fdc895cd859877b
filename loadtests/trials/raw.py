"""Raw HTTP requests that no HTTP library would send."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.harness.client import Address

CHUNK = 1 << 20


@dataclass(frozen=True)
class Reply:
    """The response: the status (0 if none came), the body's beginning, and the time it took."""

    status: int
    body: bytes
    seconds: float
    error: str = ""
    whole: bytes = field(default=b"", repr=False)
    """The whole body."""
    head: bytes = field(default=b"", repr=False)
    """The status line and the headers."""


def head(
    method: str,
    path: str,
    length: int | None,
    headers: Sequence[str] = (),
    host: str = "localhost",
) -> bytes:
    """The head of a request that asks the server to close the connection."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


async def send(
    address: Address,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: Sequence[str] = (),
    host: str = "localhost",
    timeout_s: float = 120.0,
) -> Reply:
    """Send a request and read the whole answer, which may come before the request is fully sent."""
    begun = time.perf_counter()
    data, error = b"", ""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                length = len(body) if method == "POST" else None
                writer.write(head(method, path, length, headers, host))
                sending = asyncio.create_task(_write(writer, body))
                data = await _read_all(reader)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            finally:
                writer.close()
    except (OSError, TimeoutError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    seconds = time.perf_counter() - begun
    front, _, rest = data.partition(b"\r\n\r\n")
    words = front.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return Reply(status, rest[:2000], seconds, error, rest, front)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; a connection that is reset after an answer counts as answered."""
    data = b""
    try:
        while piece := await reader.read(CHUNK):
            data += piece
    except ConnectionError:
        if not data:
            raise
    return data


async def _write(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Send a body; stop if the server closes its side, because the answer says why."""
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(body), CHUNK):
            writer.write(body[start : start + CHUNK])
            await writer.drain()
