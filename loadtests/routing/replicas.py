"""Real replicas, and how requests are spread over them without knowing anything of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.harness.ports import free_port
from loadtests.harness.subject import serving

TIMEOUT = 120.0
BLOCK_SIZE = 64


@dataclass(frozen=True)
class Replica:
    """One server: where it answers, and the addresses of its events."""

    name: str
    """No other replica ever has it."""
    url: str
    endpoint: str
    replay_endpoint: str


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
            url = f"http://{server.address}"
            started.append(Replica(url, url, endpoint, replay))
        yield started


class RoundRobin:
    """Each replica in its turn."""

    def __init__(self, replicas: Sequence[Replica], client: httpx.AsyncClient) -> None:
        self._turns = itertools.cycle(replicas)
        self._client = client

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a chat completion; return the answer."""
        url = f"{next(self._turns).url}/v1/chat/completions"
        answer: dict[str, Any] = (await self._client.post(url, json=body, timeout=TIMEOUT)).json()
        return answer
