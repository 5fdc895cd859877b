"""Memory that a client without rights can take: endless heads, wide bodies, unread answers."""

from __future__ import annotations

import asyncio
import json

from loadtests.trials.attacks.attack import (
    CHAT,
    KEYS,
    NATIVE,
    Attack,
    Run,
    Setting,
    Target,
    completion,
)
from loadtests.trials.attacks.sockets import body_head, connections, head, pour

NUMBER = 6
MIB = 1 << 20
_SHIFTING = Setting(("--context-shift", "--timeout", "5"))
_IMPATIENT = Setting(("--timeout", "5"))
_KEYS = Setting(keys=KEYS)


def _poured(first: str, piece: bytes, times: int, *fields: str, mebibytes: int = 100) -> Run:
    """An attack that goes on sending after a head."""

    async def run(target: Target) -> None:
        async with connections(target, times) as opened:
            for _, writer in opened:
                writer.write(head(target, "POST", NATIVE, *fields) + first.encode())
            taken = [pour(writer, piece, mebibytes) for _, writer in opened]
            target.statuses["MiB taken"] += sum(await asyncio.gather(*taken))

    return run


def _bodies(piece: bytes, first: bytes, last: bytes, times: int, key: str | None = None) -> Run:
    """An attack with bodies of nearly 16 MiB that repeat a piece."""

    async def run(target: Target) -> None:
        count = (16 * MIB - 1000) // len(piece)
        body = first + piece * count + last
        await asyncio.gather(*(target.post(CHAT, body, key=key) for _ in range(times)))

    return run


async def _unknown_fields(target: Target) -> None:
    """Names of fields that nobody knows, new ones in each body."""
    for number in range(10):
        names = {f"{number} {n} {'x' * 10_000}": 1 for n in range(500)}
        await target.post(NATIVE, {**completion(n_predict=1), **names})


async def _same_key_again(target: Target) -> None:
    """The same field name, written differently each time."""
    for number in range(20):
        body = {**completion(n_predict=1), f"UNKNOWN_{number}_" + "y" * (4 * MIB): [number]}
        await target.post(NATIVE, body)


def _unread(path: str, body: dict[str, object], times: int) -> Run:
    """An attack that asks for answers and reads none of them."""

    async def run(target: Target) -> None:
        payload = json.dumps(body).encode()
        async with connections(target, times) as opened:
            for reader, writer in opened:
                transport = writer.transport
                assert isinstance(transport, asyncio.Transport)
                transport.pause_reading()
                writer.write(body_head(target, path, len(payload)) + payload)
                assert reader is not None
            await asyncio.sleep(8)

    return run


async def _pipelined(target: Target) -> None:
    """Requests one after the other on a connection whose answers are never read."""
    requests = head(target, "GET", "/openapi.json") * 200
    async with connections(target, 8) as opened:
        for _, writer in opened:
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
        taken = [pour(writer, requests, 10) for _, writer in opened]
        target.statuses["MiB taken"] += sum(await asyncio.gather(*taken))


async def _endless_heads(target: Target) -> None:
    """Heads that go on and on, in one line and in many."""
    async with connections(target, 8) as opened:
        for _, writer in opened:
            writer.write(head(target, "GET", "/")[:-2] + b"X: ")
        pieces = (b"x" * 10_000, b"x\r\nX-More: y\r\n" * 1000)
        taken = [pour(writer, pieces[n % 2], 30) for n, (_, writer) in enumerate(opened)]
        target.statuses["MiB taken"] += sum(await asyncio.gather(*taken))


_PROBED = completion(n_probs=200, n_predict=900, ignore_eos=True, stream=True)
_ENDLESS = completion(n_probs=100, n_predict=20_000, ignore_eos=True, stream=True)
_CHUNKED = "Transfer-Encoding: chunked"

ATTACKS = (
    Attack(
        NUMBER,
        "trailers without end",
        _poured("2\r\n{}\r\n0\r\n", b"X-Trailer: " + b"x" * 4000 + b"\r\n", 3, _CHUNKED),
    ),
    Attack(NUMBER, "16 MiB of brackets", _bodies(b"[[[[[[[[]]]]]]]],", b'{"a":[', b"1]}", 2)),
    Attack(NUMBER, "unknown field names of 50 MB", _unknown_fields),
    Attack(
        NUMBER,
        "streams that nobody reads",
        _unread(NATIVE, _PROBED, 6),
        _IMPATIENT,
    ),
    Attack(
        NUMBER,
        "whole answers that nobody reads",
        _unread(NATIVE, {**_PROBED, "stream": False}, 6),
        _IMPATIENT,
    ),
    Attack(NUMBER, "shifting streams that nobody reads", _unread(NATIVE, _ENDLESS, 4), _SHIFTING),
    Attack(NUMBER, "unknown field names of 4 MiB, 20 times", _same_key_again),
    Attack(NUMBER, "heads without end", _endless_heads),
    Attack(
        NUMBER,
        "extensions of chunks without end",
        _poured("2;", b"x" * 4000, 8, _CHUNKED),
    ),
    Attack(
        NUMBER,
        "chunks of one byte",
        _poured("", b"1\r\n \r\n" * 10_000, 8, _CHUNKED, mebibytes=30),
    ),
    Attack(
        NUMBER,
        "16 MiB of objects in an unknown field",
        _bodies(b'{"a":{"b":[]}},', b'{"x":[', b"{}]}", 4),
    ),
    Attack(
        NUMBER,
        "16 MiB of short texts",
        _bodies(b'"\\u4e2d",', b'{"prompt":[', b'"x"]}', 4),
    ),
    Attack(
        NUMBER,
        "24 bodies of 16 MiB without a key",
        _bodies(b"[],", b'{"x":[', b"1]}", 24, key=""),
        _KEYS,
    ),
    Attack(NUMBER, "pipelined requests without reading", _pipelined),
)
