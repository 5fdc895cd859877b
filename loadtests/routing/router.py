"""The precise router: it follows the replicas' events and metrics, and chooses one for a prompt."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import time
from collections.abc import Collection, Sequence
from typing import Any

import httpx
import msgspec

from loadtests.routing.precise import BlockIndex, Key, Load, choose
from loadtests.routing.replicas import BLOCK_SIZE, TIMEOUT, Replica
from loadtests.routing.subscriber import Subscriber

SCRAPE_SECONDS = 0.05

_CHAT = "/v1/chat/completions"
_JSON = {"content-type": "application/json"}
_WAITING = re.compile(rb"^vllm:num_requests_waiting\{[^}]*\} (\S+)$", re.MULTILINE)
_USAGE = re.compile(rb"^vllm:kv_cache_usage_perc\{[^}]*\} (\S+)$", re.MULTILINE)


class Rendered(msgspec.Struct):
    """The part of a rendered prompt that a router needs."""

    token_ids: list[int]


class Precise:
    """Chooses the replica that knows most of the prompt, as far as its load allows."""

    def __init__(self, client: httpx.AsyncClient, dice: random.Random) -> None:
        self._client = client
        self._dice = dice
        self._index = BlockIndex(BLOCK_SIZE)
        self._replicas: dict[str, Replica] = {}
        self._loads: dict[str, Load] = {}
        self._subscribers: dict[str, Subscriber] = {}

    @property
    def replicas(self) -> Sequence[Replica]:
        """Those that may be chosen."""
        return list(self._replicas.values())

    async def follow(self, replicas: Sequence[Replica]) -> None:
        """Choose among these from now on. A new one first tells all that it has."""
        names = {replica.name for replica in replicas}
        for name in self._replicas.keys() - names:
            self._leave(name)
        for replica in replicas:
            if replica.name not in self._replicas:
                await self._join(replica)

    async def choose(
        self, path: str, body: bytes, *, without: Collection[str] = ()
    ) -> Replica | None:
        """The best replica for a request, or None if there is none; `without` names some."""
        loads = {name: load for name, load in self._loads.items() if name not in without}
        if not loads:
            return None
        keys, now = await self._keys(path, body), time.monotonic()
        loads = {name: load for name, load in loads.items() if name in self._replicas}
        if not loads:
            return None
        for subscriber in self._subscribers.values():
            subscriber.drain()
        name = choose(self._index, loads, keys, now, self._dice)
        self._index.expect(name, keys, now)
        return self._replicas[name]

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a chat completion; return the answer."""
        content = msgspec.json.encode(body)
        replica = await self.choose(_CHAT, content)
        assert replica is not None
        response = await self._client.post(
            f"{replica.url}{_CHAT}", content=content, headers=_JSON, timeout=TIMEOUT
        )
        answer: dict[str, Any] = response.json()
        return answer

    async def watch(self) -> None:
        """Read the replicas' metrics again and again."""
        while True:
            for replica in self.replicas:
                with contextlib.suppress(httpx.HTTPError):
                    page = (await self._client.get(f"{replica.url}/metrics")).content
                    if replica.name in self._loads:
                        self._loads[replica.name] = _load(page)
            await asyncio.sleep(SCRAPE_SECONDS)

    def close(self) -> None:
        """Leave all replicas."""
        for name in list(self._replicas):
            self._leave(name)

    async def _keys(self, path: str, body: bytes) -> Sequence[Key]:
        """The blocks of a request's prompt; none if its tokens can't be had."""
        if path != _CHAT:
            return ()
        anyone = self._dice.choice(self.replicas)
        try:
            response = await self._client.post(
                f"{anyone.url}{path}/render", content=body, headers=_JSON, timeout=TIMEOUT
            )
            rendered = msgspec.json.decode(response.content, type=Rendered)
        except (httpx.HTTPError, msgspec.MsgspecError):
            return ()
        return self._index.keys(rendered.token_ids)

    async def _join(self, replica: Replica) -> None:
        on_event = functools.partial(self._index.apply, replica.name)
        subscriber = Subscriber(replica.endpoint, replica.replay_endpoint, on_event)
        try:
            await asyncio.to_thread(subscriber.catch_up)
        except TimeoutError:
            subscriber.close()
            self._index.forget(replica.name)
            return
        self._replicas[replica.name] = replica
        self._loads[replica.name] = Load()
        self._subscribers[replica.name] = subscriber

    def _leave(self, name: str) -> None:
        del self._replicas[name], self._loads[name]
        self._subscribers.pop(name).close()
        self._index.forget(name)


def _load(page: bytes) -> Load:
    """What a page of metrics says; nothing of an engine that is away."""
    waiting, usage = _WAITING.search(page), _USAGE.search(page)
    return Load(float(waiting[1]) if waiting else 0.0, float(usage[1]) if usage else 0.0)
