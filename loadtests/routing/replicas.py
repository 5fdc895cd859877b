"""Real replicas, how they are asked, and how requests are spread over them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from loadtests.harness.servers import Server, free_port
from loadtests.harness.subject import serving
from loadtests.routing.precise import BlockIndex, Load, choose
from loadtests.routing.subscriber import Subscriber

SCRAPE_SECONDS = 0.05
TIMEOUT = 120.0
BLOCK_SIZE = 64

_WAITING = re.compile(rb"^vllm:num_requests_waiting\{[^}]*\} (\S+)$", re.MULTILINE)
_USAGE = re.compile(rb"^vllm:kv_cache_usage_perc\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass
class Replica:
    """One server, and the addresses of its events."""

    server: Server
    endpoint: str
    replay_endpoint: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.server.address}"


@contextlib.asynccontextmanager
async def replicas(count: int, *flags: str) -> AsyncIterator[list[Replica]]:
    """Ready servers of the demo model that publish their events."""
    async with contextlib.AsyncExitStack() as stack:
        started = []
        for _ in range(count):
            endpoint, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
            events = ("--kv-events-endpoint", endpoint, "--kv-events-replay-endpoint", replay)
            size = ("--kv-events-block-size", str(BLOCK_SIZE))
            server = await stack.enter_async_context(serving(*flags, *events, *size))
            started.append(Replica(server, endpoint, replay))
        yield started


class RoundRobin:
    """Each replica in its turn."""

    def __init__(self, replicas: Sequence[Replica], client: httpx.AsyncClient) -> None:
        self._turns = itertools.cycle(replicas)
        self._client = client

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a chat completion; return the answer."""
        return await _post(self._client, next(self._turns), "/v1/chat/completions", body)


@dataclass
class Precise:
    """The replica that knows most of the prompt, as far as its load allows."""

    replicas: Sequence[Replica]
    client: httpx.AsyncClient
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self._index = BlockIndex(BLOCK_SIZE)
        self._loads = [Load() for _ in self.replicas]
        self._subscribers = [
            Subscriber(
                replica.endpoint,
                replica.replay_endpoint,
                lambda event, number=number: self._index.apply(number, event),  # type: ignore[misc]
            )
            for number, replica in enumerate(self.replicas)
        ]
        for subscriber in self._subscribers:
            subscriber.catch_up()

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a chat completion; return the answer."""
        path = "/v1/chat/completions"
        anyone = self.dice.choice(self.replicas)
        rendered = await _post(self.client, anyone, f"{path}/render", body)
        keys, now = self._index.keys(rendered["token_ids"]), time.monotonic()
        for subscriber in self._subscribers:
            subscriber.drain()
        number = choose(self._index, self._loads, keys, now, self.dice)
        self._index.expect(number, keys, now)
        return await _post(self.client, self.replicas[number], path, body)

    async def watch(self) -> None:
        """Read the replicas' metrics again and again."""
        while True:
            for replica, load in zip(self.replicas, self._loads, strict=True):
                page = (await self.client.get(f"{replica.url}/metrics")).content
                waiting, usage = _WAITING.search(page), _USAGE.search(page)
                assert waiting is not None
                assert usage is not None
                load.num_waiting, load.usage = float(waiting[1]), float(usage[1])
            await asyncio.sleep(SCRAPE_SECONDS)

    def close(self) -> None:
        """Leave all replicas."""
        for subscriber in self._subscribers:
            subscriber.close()


async def _post(
    client: httpx.AsyncClient, replica: Replica, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    response = await client.post(f"{replica.url}{path}", json=body, timeout=TIMEOUT)
    answer: dict[str, Any] = response.json()
    return answer
