"""Packed bodies: they are unpacked in small pieces, whatever they unpack to."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from server.errors import BodyTooLarge, InvalidRequest
from server.http.content_encoding import PIECE, PIECES_PER_TURN, DecodeBody

pytestmark = pytest.mark.anyio

MAX_BYTES = 4 << 20


async def unpack(parts: list[bytes]) -> list[bytes]:
    """The pieces that a handler reads of a body that comes in these parts."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    for number, part in enumerate(parts, 1):
        more = number < len(parts)
        messages.put_nowait({"type": "http.request", "body": part, "more_body": more})
    pieces: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            pieces.append(message["body"])
            more = message["more_body"]

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "headers": [(b"content-encoding", b"deflate")]}
    await DecodeBody(app, max_bytes=MAX_BYTES)(scope, messages.get, send)
    return pieces


BODIES = [
    b"",
    b"{}",
    b" " * PIECE,
    b" " * (3 * PIECE),
    b" " * MAX_BYTES,
    random.Random(1).randbytes(2 * PIECE + 7),
]


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("size", [1 << 20, 1000, 7])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_pieces_are_small(body: bytes, size: int, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(body)[: 200_000 * size]
    parts = [packed[at : at + size] for at in range(0, len(packed), size)]
    pieces = await unpack(parts)
    assert b"".join(pieces) == body
    assert max(len(piece) for piece in pieces) <= PIECE


@pytest.mark.parametrize("extra", [1, PIECE, 100 * PIECE])
async def test_no_more_than_allowed_is_unpacked(extra: int) -> None:
    with pytest.raises(BodyTooLarge):
        await unpack([gzip.compress(b" " * (MAX_BYTES + extra))])


@pytest.mark.parametrize("cut", [1, 8, 100])
async def test_a_body_that_ends_too_early(cut: int) -> None:
    packed = zlib.compress(random.Random(2).randbytes(3 * PIECE))
    with pytest.raises(InvalidRequest, match="ends before"):
        await unpack([packed[:-cut]])


@pytest.mark.parametrize("count", [2, 12, 40])
async def test_bodies_are_unpacked_in_turns_of_the_loop(count: int) -> None:
    """However many bodies come at once, others get their turn after some pieces."""
    packed = gzip.compress(b" " * (4 * PIECE))
    pieces = most = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal pieces
        more = True
        while more:
            more = (await receive())["more_body"]
            pieces += 1

    async def receive() -> Message:
        return {"type": "http.request", "body": packed, "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError

    async def watch() -> None:
        nonlocal most
        before = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            most, before = max(most, pieces - before), pieces

    scope = {"type": "http", "headers": [(b"content-encoding", b"gzip")]}
    decode = DecodeBody(app, max_bytes=MAX_BYTES)
    tasks = [asyncio.ensure_future(decode(scope, receive, send)) for _ in range(count)]
    await watch()
    assert pieces >= 4 * count
    assert most <= PIECES_PER_TURN
