"""Replicas behind a router that follows their KV events: what share of the prompts is cached.

The same conversations are held three times: with one replica that has the memory of all, with
llm-d's scoring rules over the replicas, and with round robin over them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from typing import Any

import httpx

from loadtests.routing.conversations import Shape, Usage, hold
from loadtests.routing.replicas import Replica, RoundRobin, replicas
from loadtests.routing.router import Precise

SLOTS = 2
CONTEXT = 1024
"""Tokens of a slot."""

CACHE_MIB = 32
"""Host memory of a replica."""

ANSWER_SECONDS = 60.0
"""How long another router's answer may take."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how many conversations, and what is good enough."""
    parser.add_argument("--url", help="a router with replicas of its own, which is asked instead")
    parser.add_argument(
        "--new-connections", action="store_true", help="one for each request to --url"
    )
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--groups", type=int, default=4, help="of equal instructions")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument(
        "--clients", type=int, default=3, help="requests at a time; replicas have two slots each"
    )
    parser.add_argument("--cache-mib", type=int, default=CACHE_MIB, help="of a replica")
    parser.add_argument(
        "--margin", type=float, default=0.03, help="share that routing may lose to one replica"
    )


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    shape = Shape(
        num_conversations=options.conversations,
        num_groups=options.groups,
        num_turns=options.turns,
        num_clients=options.clients,
    )
    if options.url:
        other = await _elsewhere(shape, options.url, are_kept=not options.new_connections)
        _report(options.url, other)
        return other.errors
    whole = await _one(shape, options)
    precise = await _several(shape, options, is_precise=True)
    turns = await _several(shape, options, is_precise=False)
    named = {"one replica with all memory": whole, "precise router": precise, "round robin": turns}
    for name, usage in named.items():
        _report(name, usage)
    problems = [f"{name}: {error}" for name, usage in named.items() for error in usage.errors]
    if precise.share < whole.share - options.margin:
        problems.append("the precise router reaches less than one replica with all memory")
    if precise.share <= turns.share:
        problems.append("the precise router reaches no more than round robin")
    return problems


def _report(name: str, usage: Usage) -> None:
    print(f"{name}: {usage.share:.1%} of {usage.prompt_tokens} prompt tokens were cached")


def _flags(num_shares: int, cache_mib: int) -> tuple[str, ...]:
    """Flags of a replica with this many replicas' memory."""
    slots = SLOTS * num_shares
    sizes = {"-np": slots, "-c": slots * CONTEXT, "--cache-ram": cache_mib * num_shares, "-t": 1}
    return tuple(str(word) for pair in sizes.items() for word in pair)


async def _one(shape: Shape, options: argparse.Namespace) -> Usage:
    flags = _flags(options.replicas, options.cache_mib)
    async with replicas(1, *flags) as started, httpx.AsyncClient() as client:
        return await hold(shape, RoundRobin(started, client).ask)


async def _elsewhere(shape: Shape, host: str, *, are_kept: bool) -> Usage:
    limits = httpx.Limits(max_keepalive_connections=None if are_kept else 0)
    async with httpx.AsyncClient(base_url=host, timeout=ANSWER_SECONDS, limits=limits) as client:

        async def ask(body: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = (await client.post("/v1/chat/completions", json=body)).json()
            return answer

        return await hold(shape, ask)


async def _several(shape: Shape, options: argparse.Namespace, *, is_precise: bool) -> Usage:
    flags = _flags(1, options.cache_mib)
    async with replicas(options.replicas, *flags) as started, httpx.AsyncClient() as client:
        if not is_precise:
            return await hold(shape, RoundRobin(started, client).ask)
        return await _precise(shape, started, client)


async def _precise(shape: Shape, started: list[Replica], client: httpx.AsyncClient) -> Usage:
    router = Precise(client, random.Random(1))
    await router.follow(started)
    watching = asyncio.create_task(router.watch())
    try:
        return await hold(shape, router.ask)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        router.close()
