"""Requests that come at once start in turns, and between the turns others are served."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from server.http.turns import STARTS_PER_TURN, StartInTurns
from tests.support.live import DEADLINE


class Started:
    """An application that notes which request starts in which turn of the loop."""

    def __init__(self) -> None:
        self.turns: dict[str, int] = {}
        self.turn = 0
        self._loop = asyncio.get_running_loop()
        self._count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.turns[scope["path"]] = self.turn

    def _count(self) -> None:
        self.turn += 1
        if self.turn < 1000:
            self._loop.call_soon(self._count)


async def nothing() -> dict[str, object]:
    return {}


async def ignore(message: object) -> None:
    pass


def started(app: StartInTurns, path: str) -> asyncio.Task[None]:
    scope = {"type": "http", "path": path}
    return asyncio.ensure_future(app(scope, nothing, ignore))


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, STARTS_PER_TURN, STARTS_PER_TURN + 1, 100])
async def test_a_burst_starts_in_turns_and_in_order(count: int) -> None:
    inner = Started()
    app = StartInTurns(inner)
    await asyncio.gather(*(started(app, f"/{number}") for number in range(count)))
    assert list(inner.turns) == [f"/{number}" for number in range(count)]
    turns = list(inner.turns.values())
    assert max(map(turns.count, turns)) <= STARTS_PER_TURN
    assert len(set(turns)) == -(-count // STARTS_PER_TURN)


@pytest.mark.anyio
async def test_a_probe_passes_a_burst() -> None:
    inner = Started()
    app = StartInTurns(inner, at_once=("/health",))
    burst = [started(app, f"/{number}") for number in range(100)]
    await asyncio.gather(*burst, started(app, "/health"))
    assert inner.turns["/health"] == inner.turns["/0"]


@pytest.mark.anyio
async def test_requests_that_are_given_up_hold_up_nobody() -> None:
    inner = Started()
    app = StartInTurns(inner)
    burst = [started(app, f"/{number}") for number in range(100)]
    await asyncio.sleep(0)
    for task in burst[STARTS_PER_TURN:-1]:
        task.cancel()
    await asyncio.gather(*burst, return_exceptions=True)
    assert list(inner.turns) == [f"/{number}" for number in (*range(STARTS_PER_TURN), 99)]
    await asyncio.wait_for(started(app, "/later"), DEADLINE)
    assert "/later" in inner.turns


@pytest.mark.anyio
async def test_what_is_no_request_passes() -> None:
    seen = list[str]()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await StartInTurns(inner)({"type": "lifespan"}, nothing, ignore)
    assert seen == ["lifespan"]
