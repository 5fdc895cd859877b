"""The bodies of all requests together: which of them gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from server.errors import Overloaded
from server.http.body_budget import FREE_BYTES, BodyBudget, BoundBodies

pytestmark = pytest.mark.anyio

KIB = 1024


class Upload:
    """A request whose body comes in parts, and whose answer takes until the test ends it."""

    def __init__(self, budget: BodyBudget) -> None:
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self._end = asyncio.Event()
        self.num_read = 0
        app = BoundBodies(self._app, budget=budget)
        self.task = asyncio.create_task(app({"type": "http"}, self._parts.get, self._send))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.num_read += len(message["body"])
            more = message["more_body"]
        await self._end.wait()

    async def _send(self, message: Message) -> None:
        raise AssertionError

    async def send(self, num_bytes: int, *, more: bool = True) -> None:
        self._parts.put_nowait(
            {"type": "http.request", "body": b"a" * num_bytes, "more_body": more}
        )
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def is_refused(self) -> bool:
        return self.task.done() and isinstance(self.task.exception(), Overloaded)

    async def finish(self) -> None:
        self._end.set()
        await asyncio.wait([self.task])


async def finish_all(uploads: Iterable[Upload]) -> None:
    for upload in uploads:
        upload.task.cancel()
        await asyncio.wait([upload.task])


@pytest.mark.parametrize("size", [FREE_BYTES + 1, FREE_BYTES + 100 * KIB, FREE_BYTES + 1000 * KIB])
async def test_the_oldest_half_read_body_gives_way(size: int) -> None:
    budget = BodyBudget(4 * (size - FREE_BYTES))
    held = [Upload(budget) for _ in range(4)]
    for upload in held:
        await upload.send(size)
    assert not any(upload.is_refused for upload in held)
    newer = Upload(budget)
    await newer.send(size, more=False)
    assert [upload.is_refused for upload in held] == [True, False, False, False]
    assert newer.num_read == size
    await finish_all([*held, newer])
    assert budget.num_bytes == 0


async def test_complete_bodies_stay_until_their_requests_end() -> None:
    budget = BodyBudget(1000)
    first, second, third = (Upload(budget) for _ in range(3))
    await first.send(FREE_BYTES + 900, more=False)
    await second.send(FREE_BYTES + 900, more=False)
    assert (first.is_refused, second.is_refused) == (False, True)
    await first.finish()
    assert budget.num_bytes == 0
    await third.send(FREE_BYTES + 900, more=False)
    assert third.num_read == FREE_BYTES + 900
    await finish_all([third])


@pytest.mark.parametrize("size", [0, 1, FREE_BYTES])
async def test_small_bodies_are_never_refused(size: int) -> None:
    budget = BodyBudget(1000)
    large = Upload(budget)
    await large.send(FREE_BYTES + 1000, more=False)
    small = [Upload(budget) for _ in range(20)]
    for upload in small:
        await upload.send(size, more=False)
        assert upload.num_read == size
        assert not upload.is_refused
    await finish_all([large, *small])
