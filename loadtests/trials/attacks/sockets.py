"""Connections that attackers hold open: heads without bodies, bodies without end, no reading."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loadtests.trials.attacks.attack import Target

Writer = asyncio.StreamWriter
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connections(target: Target, count: int) -> AsyncIterator[list[Connection]]:
    """Some connections, closed in the end. A server that is full gives fewer."""
    opened: list[Connection] = []
    for _ in range(count):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                address = target.address
                # Tiny buffers, so that what is not read stays at the server.
                pair = await asyncio.open_connection(address.host, address.port, limit=1024)
                opened.append(pair)
    target.statuses["connected"] += len(opened)
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


def head(
    target: Target, method: str, path: str, *fields: str, key: str | None = None, keep: bool = True
) -> bytes:
    """The head of a request, with the attacker's key unless another is named."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.address}", *fields]
    lines += target.credentials(key)
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


def body_head(target: Target, path: str, length: int, *, key: str | None = None) -> bytes:
    """The head of a request with a body of `length` bytes."""
    fields = ("Content-Type: application/json", f"Content-Length: {length}")
    return head(target, "POST", path, *fields, key=key)


async def pour(writer: Writer, piece: bytes, mebibytes: int) -> int:
    """Send a piece again and again until the server closes; returns the MiB that were taken."""
    sent = 0
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(20):
            while sent < mebibytes << 20:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
    return sent >> 20


async def is_open(reader: asyncio.StreamReader) -> bool:
    """Whether the server keeps a connection, after everything that it has sent."""
    try:
        async with asyncio.timeout(0.5):
            while await reader.read(1 << 16):
                pass
    except TimeoutError:
        return True
    except OSError:
        pass
    return False


async def drip(writers: list[Writer], seconds: float, piece: Callable[[int], bytes]) -> None:
    """Send a little on each connection, twice a second."""
    for turn in range(int(seconds * 2)):
        for writer in writers:
            if not writer.is_closing():
                writer.write(piece(turn))
        await asyncio.sleep(0.5)
