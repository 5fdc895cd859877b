"""The load tests' router in front of real replicas: it finds prefixes, and outlives a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from loadtests.harness.ports import free_port
from loadtests.routing.proxy import router_app
from loadtests.routing.replicas import Replica
from tests.support.processes import DEADLINE, Server, serving

pytestmark = pytest.mark.anyio

Message = dict[str, str]
SYSTEM: Message = {"role": "system", "content": "river stone bread light winter garden " * 20}


@contextmanager
def replica() -> Iterator[tuple[Server, Replica]]:
    """A server of two slots that publishes its events."""
    endpoint, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    events = ("--kv-events-endpoint", endpoint, "--kv-events-replay-endpoint", replay)
    with serving("-np", "2", "-c", "2048", "--metrics", *events) as server:
        yield server, Replica(server.url, server.url, endpoint, replay)


async def ask(client: httpx.AsyncClient, *messages: Message) -> dict[str, Any]:
    body = {"messages": [SYSTEM, *messages], "max_tokens": 4, "temperature": 0}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    usage: dict[str, Any] = answer.json()["usage"]
    return usage


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait(DEADLINE)


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(int(DEADLINE / 0.05)):
        if (await client.get("/router/health")).status_code == 200:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the router found no replica")


async def test_requests_go_where_their_prefix_is_and_around_who_is_gone() -> None:
    with replica() as (first, one), replica() as (second, two):
        found: list[Replica] = []

        async def find() -> list[Replica]:
            return found

        app = router_app(find)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=transport, base_url="http://router", timeout=DEADLINE
            ) as client,
        ):
            assert (await client.get("/router/health")).status_code == 503
            assert (await client.get("/v1/models")).status_code == 503
            found += [one, two]
            await until_ready(client)
            # Whichever replica has the first one's beginning gets the others.
            usages = [await ask(client, {"role": "user", "content": f"Say {n}."}) for n in range(6)]
            for usage in usages[1:]:
                cached = usage["prompt_tokens_details"]["cached_tokens"]
                assert cached > 0.8 * usage["prompt_tokens"]
            assert (await client.post("/v1/chat/completions", content=b"{")).status_code == 400
            kill(first)
            for n in range(4):
                await ask(client, {"role": "user", "content": f"Say {n} again."})
            kill(second)
            assert (await client.get("/v1/models")).status_code == 502
