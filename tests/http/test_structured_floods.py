"""Requests whose schemas are slow: they hold up nobody else, and end with their clients."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from confined.pool import MOST_SLOW, Pace
from confined.turns import Turns
from grammars import building
from grammars.sandbox import sandbox
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from tests.support import slow_jobs
from tests.support.fake_server import make_server
from tests.support.live import serving

pytestmark = pytest.mark.anyio

LONG, SHORT = Pace(300.0, 300.0), Pace(0.2, 0.2)
NUMBERS = itertools.count()
IMPATIENT = 0.3
"""Seconds after which a client hangs up."""


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox, in which some schemas take for ever, and slow work has all the time it wants."""
    monkeypatch.setattr(building, "build_schema", slow_jobs.build_schema)
    monkeypatch.setattr(sandbox.pool, "quick", SHORT)
    monkeypatch.setattr(sandbox.pool, "slow", LONG)


def endless() -> dict[str, Any]:
    """A request that no other is like."""
    title = f"{slow_jobs.ENDLESS} {next(NUMBERS)}"
    return {"prompt": "ab", "json_schema": {"type": "object", "title": title}}


def structured() -> dict[str, Any]:
    return {"prompt": "ab", "json_schema": {"type": "object", "title": f"{next(NUMBERS)}"}}


@asynccontextmanager
async def client_of(*names: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with a key for each name."""
    keys = [ApiKey(name=name, digest=digest_of(name.encode())) for name in names]
    app = create_app(make_server().context, keys=KeyRing(keys))
    with serving(app) as url:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            yield client


async def hang_up(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.post(path, json=body, timeout=httpx.Timeout(60, read=IMPATIENT))


@pytest.mark.parametrize("pace", [SHORT, LONG])
async def test_clients_that_hang_up_free_processes_and_places(
    monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    """More clients than processes or places, whether their work is slow already or not."""
    monkeypatch.setattr(sandbox.pool, "quick", pace)
    async with client_of() as client:
        await asyncio.gather(*(hang_up(client, "/completion", endless()) for _ in range(12)))
        monkeypatch.setattr(sandbox.pool, "quick", LONG)
        assert (await client.post("/completion", json=structured())).status_code == 200


async def test_a_chat_whose_client_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.pool, "quick", LONG)
    async with client_of() as client:
        for _ in range(3):
            schema = {"name": "x", "schema": endless()["json_schema"]}
            body = {
                "messages": [{"role": "user", "content": "Hi"}],
                "response_format": {"type": "json_schema", "json_schema": schema},
            }
            await hang_up(client, "/v1/chat/completions", body)
        assert (await client.post("/completion", json=structured())).status_code == 200


async def test_plain_requests_never_wait_for_slow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.pool, "quick", LONG)
    async with client_of() as client:
        flood = [asyncio.create_task(client.post("/completion", json=endless())) for _ in range(40)]
        await asyncio.sleep(IMPATIENT)
        for _ in range(5):
            assert (await client.post("/completion", json={"prompt": "ab"})).status_code == 200
        assert not any(task.done() for task in flood)
        await stopped(flood)


async def test_another_key_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of("flood", "other") as client:
        flood = [
            asyncio.create_task(
                client.post("/completion", json=endless(), headers={"X-Api-Key": "flood"})
            )
            for _ in range(MOST_SLOW + 4)
        ]
        statuses = [(await task).status_code for task in await done(flood, 4)]
        assert statuses == [429] * 4
        monkeypatch.setattr(sandbox.pool, "quick", LONG)
        answer = await client.post("/completion", json=structured(), headers={"X-Api-Key": "other"})
        assert answer.status_code == 200
        assert sum(task.done() for task in flood) == 4
        await stopped(flood)


async def test_a_refusal_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.pool, "slow_turns", Turns(1, most=1))
    async with client_of() as client:
        first = asyncio.create_task(client.post("/completion", json=endless()))
        second = asyncio.create_task(client.post("/completion", json=endless()))
        (refused,) = await done([first, second], 1)
        answer = await refused
        assert answer.status_code == 429
        assert "slow to prepare" in answer.json()["error"]["message"]
        assert int(answer.headers["Retry-After"]) > 0
        await stopped([first, second])


async def done(
    tasks: list[asyncio.Task[httpx.Response]], count: int
) -> list[asyncio.Task[httpx.Response]]:
    """The first tasks that are done, at least so many."""
    while sum(task.done() for task in tasks) < count:
        await asyncio.wait(
            [task for task in tasks if not task.done()], return_when="FIRST_COMPLETED"
        )
    return [task for task in tasks if task.done()]


async def stopped(tasks: list[asyncio.Task[httpx.Response]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
